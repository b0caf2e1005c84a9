// SPDX-License-Identifier: GPL-3.0-or-later
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {Accepted, AcceptedTree} from "../src/AcceptedTree.sol";
import {Attestation, FarmMessages, Submission} from "../src/FarmMessages.sol";
import {Bench, Disputes} from "../src/Disputes.sol";
import {Unpaid} from "../src/Claims.sol";
import {MarketMessages, Offer, Order, Raise, Release, Terms, Voucher} from "../src/MarketMessages.sol";
import {RenderMarket} from "../src/RenderMarket.sol";
import {RenderToken} from "../src/RenderToken.sol";
import {StakeVault} from "../src/StakeVault.sol";
import {Windows} from "../src/Jobs.sol";
import {Vm} from "./Vm.sol";

/// @notice Struct hashes take calldata; this turns memory into calldata for the tests.
contract Hashes {
    function terms(Terms calldata said) external pure returns (bytes32) {
        return MarketMessages.hash(said);
    }

    function offer(Offer calldata said) external pure returns (bytes32) {
        return MarketMessages.hash(said);
    }

    function order(Order calldata said) external pure returns (bytes32) {
        return MarketMessages.hash(said);
    }

    function raise(Raise calldata said) external pure returns (bytes32) {
        return MarketMessages.hash(said);
    }

    function voucher(Voucher calldata said) external pure returns (bytes32) {
        return MarketMessages.hash(said);
    }

    function release(Release calldata said) external pure returns (bytes32) {
        return MarketMessages.hash(said);
    }

    function attestation(Attestation calldata said, address farm) external pure returns (bytes32) {
        return FarmMessages.digest(said, farm);
    }

    function submission(Submission calldata said, address farm) external pure returns (bytes32) {
        return FarmMessages.digest(said, farm);
    }

    function isOf(string calldata task, bytes32 job) external pure returns (bool) {
        return FarmMessages.isOf(task, job);
    }
}

/// @notice A market with a client, a farm, an operator with a node, an arbiter and a watcher, and what they sign.
abstract contract World {
    Vm internal constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    uint256 internal constant FARM = 0xFA;
    uint256 internal constant SESSION = 0x5E;
    uint256 internal constant OPERATOR = 0x09;
    uint256 internal constant NODE = 0x0D;
    uint256 internal constant ARBITER = 0xA2;
    uint256 internal constant STRANGER = 0x57;
    uint256 internal constant RICH = 1e30;
    uint128 internal constant DEPOSIT = 1000e18;
    uint128 internal constant CAP = 100e18;
    uint96 internal constant TASK_CAP = 10e18;
    uint64 internal constant CLAIM = 1 days;
    uint64 internal constant DECISION = 2 days;
    uint64 internal constant GRACE = 12 hours;
    uint64 internal constant UNBONDING = 4 days;
    uint64 internal constant SLASH_DELAY = 6 hours;
    uint64 internal constant LIFE = 7 days;
    bytes32 internal constant NAME = "j0123456789ab";

    address internal constant client = address(0xC11E);
    address internal constant coldWallet = address(0xC01D);
    address internal constant payee = address(0xAEE);
    address internal constant watcher = address(0x3A7C);

    Hashes internal hashes;
    RenderToken internal token;
    RenderMarket internal market;
    StakeVault internal vault;
    Disputes internal disputes;

    function build() internal {
        vm.warp(1_800_000_000);
        hashes = new Hashes();
        token = new RenderToken(address(this), RICH);
        market = deploy(token);
        vault = market.vault();
        disputes = market.disputes();
        fund(client, DEPOSIT * 10);
        fund(watcher, DEPOSIT);
        give(OPERATOR, 1000e18);
    }

    /// @dev From the committed artifact, which is what farms deploy; mutants are made from the sources.
    function deploy(IERC20 with) internal returns (RenderMarket made) {
        Windows memory windows = Windows(CLAIM, DECISION, GRACE, UNBONDING, SLASH_DELAY);
        bytes32 from = keccak256(bytes(vm.envOr("CONTRACTS_FROM", "artifacts")));
        if (from == keccak256("sources")) return new RenderMarket(with, windows);
        bytes memory code = vm.parseJsonBytes(vm.readFile("artifacts/RenderMarket.json"), ".bytecode");
        code = bytes.concat(code, abi.encode(with, windows));
        assembly {
            made := create(0, add(code, 32), mload(code))
        }
        require(address(made) != address(0), "the artifact was not deployed");
    }

    /// @dev Tokens, and leave for the market to take them.
    function fund(address who, uint256 amount) internal {
        token.transfer(who, amount);
        vm.prank(who);
        token.approve(address(market), type(uint256).max);
    }

    /// @dev Free stake for an operator.
    function give(uint256 operator, uint128 amount) internal {
        token.approve(address(vault), amount);
        vault.stake(vm.addr(operator), amount);
    }

    function sig(uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }

    /// @dev The digest a struct hash is signed as for `verifying`.
    function typed(string memory name, address verifying, bytes32 structHash) internal view returns (bytes32) {
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256(bytes(name)),
                keccak256("1"),
                block.chainid,
                verifying
            )
        );
        return keccak256(abi.encodePacked(hex"1901", domain, structHash));
    }

    function marketSig(uint256 key, bytes32 structHash) internal view returns (bytes memory) {
        return sig(key, typed("Render Market", address(market), structHash));
    }

    function disputesSig(uint256 key, bytes32 structHash) internal view returns (bytes memory) {
        return sig(key, typed("Render Disputes", address(disputes), structHash));
    }

    function someTerms() internal view returns (Terms memory terms) {
        terms.client = client;
        terms.refundTo = coldWallet;
        terms.farm = vm.addr(FARM);
        terms.name = NAME;
        terms.deadline = uint64(block.timestamp) + LIFE;
        terms.sessionKey = vm.addr(SESSION);
        terms.priceCap = 2e15;
        terms.stakeShare = 10_000;
        terms.watcher = watcher;
        terms.arbiters = new address[](1);
        terms.arbiters[0] = vm.addr(ARBITER);
        terms.threshold = 1;
        terms.termsHash = keccak256("terms");
    }

    function openJob(Terms memory terms, uint128 deposit) internal returns (uint64) {
        bytes memory signature = marketSig(FARM, hashes.terms(terms));
        vm.prank(terms.client);
        return market.openJob(terms, signature, deposit);
    }

    function openJob() internal returns (uint64) {
        return openJob(someTerms(), DEPOSIT);
    }

    function someOffer() internal view returns (Offer memory offer) {
        offer.farm = vm.addr(FARM);
        offer.node = vm.addr(NODE);
        offer.payee = payee;
        offer.deviceClass = "cpu:x86_64:5.0.1";
        offer.price = 1e15;
        offer.capacity = 500_000;
        offer.stakeShare = 10_000;
        offer.expiry = uint64(block.timestamp) + 1 days;
        offer.number = 1;
    }

    function someOrder(uint64 job, Offer memory offer) internal view returns (Order memory order) {
        order.job = job;
        order.offer = hashes.offer(offer);
        order.cap = CAP;
        order.taskCap = TASK_CAP;
        order.claimTasks = 4;
    }

    function open(Offer memory offer, uint256 operator, Order memory order, uint256 session)
        internal
        returns (bytes32)
    {
        bytes memory one = marketSig(operator, hashes.offer(offer));
        bytes memory two = marketSig(session, hashes.order(order));
        return market.openAgreement(offer, one, order, two);
    }

    function openAgreement(uint64 job) internal returns (bytes32) {
        Offer memory offer = someOffer();
        return open(offer, OPERATOR, someOrder(job, offer), SESSION);
    }

    function raiseCap(bytes32 id, uint128 cap) internal {
        Raise memory said = Raise(id, cap);
        bytes memory signature = marketSig(SESSION, hashes.raise(said));
        market.raiseCap(said, signature);
    }

    function redeem(bytes32 id, uint128 cumulative) internal returns (uint128) {
        return redeem(Voucher(id, cumulative, 0), SESSION);
    }

    function redeem(Voucher memory said, uint256 key) internal returns (uint128) {
        bytes memory signature = marketSig(key, hashes.voucher(said));
        return market.redeem(said, signature);
    }

    function someAttestation(string memory task) internal pure returns (Attestation memory said) {
        said.task = task;
        said.token = 3;
        said.pixelRoot = keccak256("pixels");
        said.object = keccak256("object");
        said.deviceClass = "cpu:x86_64:5.0.1";
        said.build = "5.0.1";
        said.renderMilliseconds = 1234;
    }

    /// @dev A task with attestation and receipt, as its operator keeps them.
    function unpaid(string memory task, uint96 amount) internal view returns (Unpaid memory said) {
        said.attestation = someAttestation(task);
        seal(said, NODE, FARM);
        said.amount = amount;
    }

    function seal(Unpaid memory said, uint256 node, uint256 farm) internal view {
        bytes32 digest = hashes.attestation(said.attestation, vm.addr(FARM));
        said.nodeSignature = sig(node, digest);
        said.receipt = Submission(digest, uint64(block.timestamp) * 1000, 77, bytes32(0), 100_000);
        said.farmSignature = sig(farm, hashes.submission(said.receipt, vm.addr(FARM)));
    }

    function list(Unpaid memory said) internal pure returns (Unpaid[] memory all) {
        all = new Unpaid[](1);
        all[0] = said;
    }

    /// @dev The operator claims what is beyond `last`, signed by the session key.
    function claim(bytes32 id, Voucher memory last, Unpaid[] memory tasks) internal {
        bytes memory signature = last.cumulative == 0 ? bytes("") : marketSig(SESSION, hashes.voucher(last));
        vm.prank(vm.addr(OPERATOR));
        market.claimUnpaid(id, last, signature, tasks);
    }

    function claim(bytes32 id, Unpaid memory task) internal {
        claim(id, Voucher(id, 0, 0), list(task));
    }

    function contest(bytes32 id) internal {
        vm.prank(client);
        market.contest(id);
    }

    function bench(bytes memory signature) internal pure returns (Bench memory found) {
        found.arbiters = new address[](1);
        found.arbiters[0] = vm.addr(ARBITER);
        found.threshold = 1;
        found.signatures = new bytes[](1);
        found.signatures[0] = signature;
    }

    function balance(address who) internal view returns (uint256) {
        return token.balanceOf(who);
    }

    /// @dev Two figures are the same, or the test fails and says both.
    function same(uint256 found, uint256 expected) internal pure {
        require(found == expected, string.concat("found ", text(found), ", expected ", text(expected)));
    }

    function text(uint256 number) internal pure returns (string memory) {
        if (number < 10) return string(abi.encodePacked(bytes1(uint8(48 + number))));
        return string.concat(text(number / 10), text(number % 10));
    }
}
