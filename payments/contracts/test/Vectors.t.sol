// SPDX-License-Identifier: GPL-3.0-or-later
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {Accepted, AcceptedTree, Beside} from "../src/AcceptedTree.sol";
import {Offer, Order, Raise, Release, Terms, Voucher} from "../src/MarketMessages.sol";
import {World} from "./World.sol";

/// @notice The contracts read exactly what payments/messages/signing.py signs and what payments/messages/accepted_tree.py makes: both
/// sides are held to money.json.
contract VectorsTest is World {
    string private json;

    function setUp() public {
        build();
        json = vm.readFile("test/money.json");
        vm.chainId(_number(".chainId"));
    }

    function test_terms() public view {
        Terms memory said;
        said.client = _address(".terms.message.client");
        said.refundTo = _address(".terms.message.refundTo");
        said.farm = _address(".terms.message.farm");
        said.name = _word(".terms.message.name");
        said.deadline = uint64(_number(".terms.message.deadline"));
        said.sessionKey = _address(".terms.message.sessionKey");
        said.priceCap = uint96(_number(".terms.message.priceCap"));
        said.stakeShare = uint32(_number(".terms.message.stakeShare"));
        said.watcher = _address(".terms.message.watcher");
        said.arbiters = new address[](2);
        said.arbiters[0] = _address(".terms.message.arbiters[0]");
        said.arbiters[1] = _address(".terms.message.arbiters[1]");
        said.threshold = uint8(_number(".terms.message.threshold"));
        said.termsHash = _word(".terms.message.termsHash");
        _agrees(".terms", hashes.terms(said));
    }

    function test_offer() public view {
        Offer memory said;
        said.farm = _address(".offer.message.farm");
        said.node = _address(".offer.message.node");
        said.payee = _address(".offer.message.payee");
        said.deviceClass = vm.parseJsonString(json, ".offer.message.deviceClass");
        said.price = uint96(_number(".offer.message.price"));
        said.capacity = uint64(_number(".offer.message.capacity"));
        said.stakeShare = uint32(_number(".offer.message.stakeShare"));
        said.expiry = uint64(_number(".offer.message.expiry"));
        said.number = uint64(_number(".offer.message.number"));
        _agrees(".offer", hashes.offer(said));
    }

    function test_order() public view {
        Order memory said;
        said.job = uint64(_number(".order.message.job"));
        said.offer = _word(".order.message.offer");
        said.cap = uint128(_number(".order.message.cap"));
        said.taskCap = uint96(_number(".order.message.taskCap"));
        said.claimTasks = uint16(_number(".order.message.claimTasks"));
        said.salt = uint64(_number(".order.message.salt"));
        _agrees(".order", hashes.order(said));
    }

    function test_what_is_said_of_an_agreement() public view {
        Raise memory more = Raise(_word(".raise.message.agreement"), uint128(_number(".raise.message.cap")));
        _agrees(".raise", hashes.raise(more));
        bytes32 voucher = hashes.voucher(
            Voucher(
                _word(".voucher.message.agreement"),
                uint128(_number(".voucher.message.cumulative")),
                _word(".voucher.message.acceptedRoot")
            )
        );
        _agrees(".voucher", voucher);
        uint128 cumulative = uint128(_number(".release.message.cumulative"));
        _agrees(".release", hashes.release(Release(_word(".release.message.agreement"), cumulative)));
    }

    function test_what_arbiters_say() public view {
        bytes32 slash = keccak256(
            abi.encode(
                keccak256("Slash(bytes32 agreement,uint128 amount,uint128 price,bytes32 reason)"),
                _word(".slash.message.agreement"),
                _number(".slash.message.amount"),
                _number(".slash.message.price"),
                _word(".slash.message.reason")
            )
        );
        _arbitrated(".slash", slash);
        bytes32 kind = keccak256("Ruling(bytes32 agreement,uint128 extra)");
        _arbitrated(
            ".ruling", keccak256(abi.encode(kind, _word(".ruling.message.agreement"), _number(".ruling.message.extra")))
        );
        kind = keccak256("Withdrawal(bytes32 slash)");
        _arbitrated(".withdrawal", keccak256(abi.encode(kind, _word(".withdrawal.message.slash"))));
    }

    function test_tree() public view {
        bytes32 root = _word(".tree.root");
        uint256 sum = _number(".tree.sum");
        (Accepted memory early, Beside[] memory way) = _shown(".tree.shown[0]", 3);
        require(AcceptedTree.holds(root, sum, early, way), "in a full tree");
        early.amount++;
        require(!AcceptedTree.holds(root, sum, early, way), "another amount");
        (Accepted memory last, Beside[] memory short) = _shown(".tree.shown[1]", 2);
        require(AcceptedTree.holds(root, sum, last, short), "a last leaf without a neighbour");
        require(!AcceptedTree.holds(root, sum, last, way), "another's way");
    }

    function _shown(string memory key, uint256 length)
        private
        view
        returns (Accepted memory shown, Beside[] memory way)
    {
        shown.task = keccak256(bytes(vm.parseJsonString(json, string.concat(key, ".task"))));
        shown.pixelRoot = _word(string.concat(key, ".pixelRoot"));
        shown.amount = uint128(_number(string.concat(key, ".amount")));
        way = new Beside[](length);
        for (uint256 i = 0; i < length; i++) {
            string memory step = string.concat(key, ".way[", text(i), "]");
            way[i].hash = _word(string.concat(step, ".hash"));
            way[i].sum = uint128(_number(string.concat(step, ".sum")));
            way[i].left = vm.parseJsonBool(json, string.concat(step, ".left"));
        }
    }

    function _agrees(string memory key, bytes32 hash) private view {
        _same(key, hash, typed("Render Market", _address(".market"), hash));
    }

    function _arbitrated(string memory key, bytes32 hash) private view {
        _same(key, hash, typed("Render Disputes", _address(".disputes"), hash));
    }

    function _same(string memory key, bytes32 hash, bytes32 digest) private view {
        require(hash == _word(string.concat(key, ".structHash")), "another struct hash");
        require(digest == _word(string.concat(key, ".digest")), "another digest");
        bytes memory signature = vm.parseJsonBytes(json, string.concat(key, ".signature"));
        require(ECDSA.recover(digest, signature) == _address(".signer"), "another signer");
    }

    function _address(string memory key) private view returns (address) {
        return vm.parseJsonAddress(json, key);
    }

    function _number(string memory key) private view returns (uint256) {
        return vm.parseJsonUint(json, key);
    }

    function _word(string memory key) private view returns (bytes32) {
        return vm.parseJsonBytes32(json, key);
    }
}
