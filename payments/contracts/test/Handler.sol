// SPDX-License-Identifier: GPL-3.0-or-later
pragma solidity 0.8.37;

import {Agreement, State} from "../src/Agreements.sol";
import {Accepted, AcceptedTree, Beside} from "../src/AcceptedTree.sol";
import {Attestation} from "../src/FarmMessages.sol";
import {Claim, Unpaid} from "../src/Claims.sol";
import {Ruling, Slash, Stage} from "../src/Disputes.sol";
import {Job} from "../src/Jobs.sol";
import {Offer, Order, Terms, Voucher} from "../src/MarketMessages.sol";
import {World} from "./World.sol";

/// @notice Everybody at once, in any order, with small figures so that limits are met often. Remembers what went
/// in and out, told by the calls alone, for the invariants to compare with what the contracts hold.
contract Handler is World {
    uint256 private constant JOBS = 2;
    uint256 private constant OPERATORS = 2;
    bytes32 private constant RULING = keccak256("Ruling(bytes32 agreement,uint128 extra)");
    bytes32 private constant SLASH =
        keccak256("Slash(bytes32 agreement,uint128 amount,uint128 price,bytes32 reason)");

    bytes32[] public ids;
    bytes32[] public slashes;
    uint256 public count;
    uint256 public deposits;
    uint256 public bondsWon;
    uint256 public greatestTask;
    mapping(bytes32 id => uint256) public locked;
    mapping(bytes32 id => uint256) public taken;
    mapping(bytes32 id => uint256) public compensated;
    mapping(bytes32 id => uint256) public settled;
    mapping(bytes32 id => uint256) public lastPaid;
    mapping(bytes32 id => uint256) public claimedTotal;
    /// @notice What a voucher or a claim entitled the agreement to at most.
    mapping(bytes32 id => uint256) public owed;

    constructor() {
        build();
        for (uint256 i = 0; i < JOBS; i++) {
            Terms memory terms = someTerms();
            terms.name = bytes32(abi.encodePacked("j", bytes1(uint8(49 + i))));
            terms.refundTo = refundTo(uint64(i + 1));
            openJob(terms, 1000);
            deposits += 1000;
        }
        for (uint256 i = 0; i < OPERATORS; i++) {
            give(_operator(i), 600);
        }
    }

    // --- what the invariants ask

    function all() external view returns (RenderParts memory) {
        return RenderParts(address(market), address(vault), address(disputes), address(token));
    }

    function agreements() external view returns (uint256) {
        return ids.length;
    }

    function refundTo(uint64 job) public pure returns (address) {
        return address(uint160(0xC0000 + job));
    }

    function payeeOf(uint256 operator) public pure returns (address) {
        return address(uint160(0xAE0000 + operator % OPERATORS));
    }

    function operatorAddress(uint256 i) external pure returns (address) {
        return vm.addr(_operator(i));
    }

    // --- the client

    function topUp(uint256 job, uint8 amount) external {
        vm.prank(client);
        market.topUp(_job(job), amount);
        deposits += amount;
    }

    function takeBack(uint256 job, uint16 amount) external {
        vm.prank(client);
        market.takeBack(_job(job), amount % 100);
    }

    function end(uint256 job, uint256 rarely) external {
        vm.assume(rarely % 16 == 0);
        vm.prank(client);
        market.end(_job(job));
    }

    function contestClaim(uint256 i) external {
        contest(_id(i));
    }

    // --- coordinator and operators

    function open(uint256 job, uint256 operator, uint16 cap) external {
        Offer memory offer = _offer(operator);
        Order memory order = someOrder(_job(job), offer);
        order.cap = cap % 300;
        order.taskCap = 50;
        order.salt = uint64(++count);
        bytes32 id = open(offer, _operator(operator), order, SESSION);
        ids.push(id);
        locked[id] = order.cap;
    }

    function raise(uint256 i, uint16 more) external {
        bytes32 id = _id(i);
        Agreement memory agreement = market.agreementOf(id);
        uint128 before = vault.slashable(agreement.operator, id);
        raiseCap(id, agreement.cap + more % 100);
        locked[id] += vault.slashable(agreement.operator, id) - before;
    }

    function redeemVoucher(uint256 i, uint16 cumulative) external {
        bytes32 id = _id(i);
        uint128 figure = uint128(uint256(cumulative) % (uint256(market.agreementOf(id).cap) + 9));
        redeem(id, figure);
        if (figure > owed[id]) owed[id] = figure;
        _see(id);
    }

    function fileClaim(uint256 i, uint16 amount, bool sameTask) external {
        bytes32 id = _id(i);
        Agreement memory agreement = market.agreementOf(id);
        if (!sameTask) greatestTask++;
        string memory name = string.concat("j", text(agreement.job), ".f", text(greatestTask));
        Unpaid memory task = unpaid(name, uint96(amount % 60));
        Accepted memory accepted = Accepted(keccak256(bytes(name)), 0, agreement.paid);
        Voucher memory last = Voucher(id, agreement.paid, AcceptedTree.leaf(accepted));
        bytes memory signature = last.cumulative == 0 ? bytes("") : marketSig(SESSION, hashes.voucher(last));
        vm.prank(agreement.operator);
        market.claimUnpaid(id, last, signature, list(task));
        claimedTotal[id] += task.amount;
        uint256 figure = uint256(agreement.paid) + task.amount;
        if (figure > owed[id]) owed[id] = figure;
    }

    function strike(uint256 i, uint256 task) external {
        bytes32 id = _id(i);
        Agreement memory agreement = market.agreementOf(id);
        string memory name = string.concat("j", text(agreement.job), ".f", text(task % (greatestTask + 1)));
        uint128 base = market.claimOf(id).base;
        market.showPaid(id, Accepted(keccak256(bytes(name)), 0, base), new Beside[](0));
    }

    function settle(uint256 i) public {
        bytes32 id = _id(i);
        market.settleClaim(id);
        settled[id]++;
        _see(id);
    }

    function rule(uint256 i, uint16 extra) external {
        bytes32 id = _id(i);
        Claim memory claim = market.claimOf(id);
        uint128 stands = uint128(uint256(extra) % (uint256(claim.extra) + 2));
        bytes memory signature = disputesSig(ARBITER, keccak256(abi.encode(RULING, id, stands)));
        disputes.ruleClaim(Ruling(id, stands), bench(signature));
        if (stands == claim.claimed) bondsWon += claim.bond;
        settled[id]++;
        _see(id);
    }

    function release(uint256 i) external {
        bytes32 id = _id(i);
        vm.prank(market.agreementOf(id).operator);
        market.release(id);
    }

    // --- anybody

    function close(uint256 i) public {
        market.close(_id(i));
    }

    function refund(uint256 job) public {
        market.refund(_job(job));
    }

    function wait_(uint32 time) external {
        vm.warp(block.timestamp + uint256(time) % 2 days);
    }

    // --- stake

    function stake(uint256 operator, uint8 amount) external {
        give(_operator(operator), amount);
    }

    function unstake(uint256 operator, uint16 amount) external {
        vm.prank(vm.addr(_operator(operator)));
        vault.withdraw(amount % 100);
    }

    function freeStake(uint256 i) public {
        bytes32 id = _id(i);
        address operator = market.agreementOf(id).operator;
        locked[id] -= vault.slashable(operator, id);
        vault.free(operator, id);
    }

    function propose(uint256 i, uint16 amount, uint8 price) external {
        Slash memory said = Slash(_id(i), amount % 800, price, bytes32(++count));
        bytes32 hash = keccak256(abi.encode(SLASH, said.agreement, said.amount, said.price, said.reason));
        slashes.push(disputes.proposeSlash(said, bench(disputesSig(ARBITER, hash))));
    }

    function execute(uint256 i) public {
        bytes32 slash = slashes[i % slashes.length];
        (bytes32 id,,,,) = disputes.cases(slash);
        (uint256 there, uint256 got) = _before(id);
        disputes.executeSlash(slash);
        _after(id, there, got);
    }

    function equivocate(uint256 i) external {
        bytes32 id = _id(i);
        uint64 job = market.agreementOf(id).job;
        Attestation memory one = someAttestation(string.concat("j", text(job), ".f", text(i % 100)));
        bytes memory a = sig(NODE, hashes.attestation(one, vm.addr(FARM)));
        Attestation memory other = someAttestation(one.task);
        other.pixelRoot = 0;
        bytes memory b = sig(NODE, hashes.attestation(other, vm.addr(FARM)));
        (uint256 there, uint256 got) = _before(id);
        disputes.reportEquivocation(id, one, a, other, b);
        _after(id, there, got);
    }

    // --- the exits by time, taken by nobody in particular

    /// @dev Lets all windows pass, step by step, and calls only what anybody may call.
    function exit() external {
        vm.warp(block.timestamp + LIFE + GRACE + CLAIM + DECISION);
        for (uint256 i = 0; i < ids.length; i++) {
            State state = market.agreementOf(ids[i]).state;
            if (state == State.Claimed) settle(i);
            if (state != State.Closed) close(i);
        }
        for (uint256 i = 0; i < slashes.length; i++) {
            (,,,, Stage stage) = disputes.cases(slashes[i]);
            if (stage == Stage.Proposed) execute(i);
        }
        vm.warp(block.timestamp + UNBONDING);
        for (uint256 i = 0; i < ids.length; i++) {
            freeStake(i);
        }
        for (uint256 i = 0; i < JOBS; i++) {
            refund(i);
        }
    }

    // --- parts

    function _before(bytes32 id) private view returns (uint256 there, uint256 got) {
        Agreement memory agreement = market.agreementOf(id);
        there = vault.slashable(agreement.operator, id);
        got = balance(refundTo(agreement.job));
    }

    function _after(bytes32 id, uint256 there, uint256 got) private {
        Agreement memory agreement = market.agreementOf(id);
        taken[id] += there - vault.slashable(agreement.operator, id);
        compensated[id] += balance(refundTo(agreement.job)) - got;
    }

    /// @dev What was paid never falls.
    function _see(bytes32 id) private {
        uint256 paid = market.agreementOf(id).paid;
        require(paid >= lastPaid[id], "paid fell");
        lastPaid[id] = paid;
    }

    function _offer(uint256 operator) private view returns (Offer memory offer) {
        offer = someOffer();
        offer.price = 1;
        offer.capacity = 400;
        offer.expiry = type(uint64).max;
        offer.payee = payeeOf(operator);
    }

    function _operator(uint256 i) private pure returns (uint256) {
        return OPERATOR + i % OPERATORS;
    }

    function _job(uint256 i) private pure returns (uint64) {
        return uint64(i % JOBS + 1);
    }

    function _id(uint256 i) private view returns (bytes32) {
        return ids[i % ids.length];
    }
}

/// @notice Where the contracts are.
struct RenderParts {
    address market;
    address vault;
    address disputes;
    address token;
}
