// SPDX-License-Identifier: GPL-3.0-or-later
pragma solidity 0.8.37;

import {Accepted, AcceptedTree, Beside} from "../src/AcceptedTree.sol";
import {Agreements, State} from "../src/Agreements.sol";
import {Claims, Unpaid} from "../src/Claims.sol";
import {Bench, Disputes, Ruling} from "../src/Disputes.sol";
import {Jobs} from "../src/Jobs.sol";
import {Offer, Order, Voucher} from "../src/MarketMessages.sol";
import {World} from "./World.sol";

/// @notice Payment without the coordinator, and what stands against claims for nothing.
contract ClaimsTest is World {
    string private constant TASK = "j0123456789ab.f1.t0";
    string private constant OTHER = "j0123456789ab.f2.t0";
    bytes32 private constant RULING = keccak256("Ruling(bytes32 agreement,uint128 extra)");

    uint64 private job;
    bytes32 private id;

    function setUp() public {
        build();
        job = openJob();
        id = openAgreement(job);
    }

    function _rule(uint128 extra) private {
        bytes memory signature = disputesSig(ARBITER, keccak256(abi.encode(RULING, id, extra)));
        disputes.ruleClaim(Ruling(id, extra), bench(signature));
    }

    function _refused(Unpaid memory task, bytes memory why) private {
        Unpaid[] memory tasks = list(task);
        vm.expectRevert(why);
        vm.prank(vm.addr(OPERATOR));
        market.claimUnpaid(id, Voucher(id, 0, 0), "", tasks);
    }

    function _badTask(Unpaid memory task, string memory reason) private {
        _refused(task, abi.encodeWithSelector(Claims.BadTask.selector, task.attestation.task, reason));
    }

    function test_claim_is_paid_when_nobody_contests() public {
        claim(id, unpaid(TASK, 7e18));
        uint64 until = uint64(block.timestamp) + CLAIM;
        vm.warp(until - 1);
        vm.expectRevert(abi.encodeWithSelector(Jobs.TooEarly.selector, until));
        market.settleClaim(id);
        vm.warp(until);
        market.settleClaim(id);
        same(balance(payee), 7e18);
    }

    /// The coordinator dies for ever: operators get what they have receipts for, the client all the rest.
    function test_dead_coordinator_pays_operators_from_the_contract_alone() public {
        redeem(id, 20e18);
        vm.warp(block.timestamp + LIFE);
        claim(id, Voucher(id, 20e18, 0), list(unpaid(TASK, 7e18)));
        vm.warp(block.timestamp + CLAIM);
        market.settleClaim(id);
        market.close(id);
        market.refund(job);
        same(balance(payee), 27e18);
        same(balance(coldWallet), DEPOSIT - 27e18);
        vm.warp(block.timestamp + UNBONDING);
        vault.free(vm.addr(OPERATOR), id);
        vm.prank(vm.addr(OPERATOR));
        vault.withdraw(1000e18);
        same(balance(vm.addr(OPERATOR)), 1000e18);
    }

    function test_claim_settles_once() public {
        claim(id, unpaid(TASK, 7e18));
        vm.warp(block.timestamp + CLAIM);
        market.settleClaim(id);
        vm.expectRevert(abi.encodeWithSelector(Agreements.WrongState.selector, id, State.Open));
        market.settleClaim(id);
        Unpaid[] memory tasks = list(unpaid(OTHER, 1e18));
        vm.expectRevert(abi.encodeWithSelector(Claims.ClaimedBefore.selector, id));
        vm.prank(vm.addr(OPERATOR));
        market.claimUnpaid(id, Voucher(id, 0, 0), "", tasks);
    }

    function test_voucher_and_claim_pay_the_greater_never_the_sum() public {
        claim(id, unpaid(TASK, 7e18));
        redeem(id, 5e18);
        vm.warp(block.timestamp + CLAIM);
        market.settleClaim(id);
        same(balance(payee), 7e18);
    }

    function test_greater_voucher_leaves_nothing_to_the_claim() public {
        claim(id, unpaid(TASK, 7e18));
        redeem(id, 8e18);
        vm.warp(block.timestamp + CLAIM);
        market.settleClaim(id);
        same(balance(payee), 8e18);
    }

    function test_nothing_closes_while_a_claim_is_pending() public {
        vm.warp(block.timestamp + LIFE + GRACE - 1);
        claim(id, unpaid(TASK, 7e18));
        vm.warp(block.timestamp + CLAIM);
        vm.expectRevert(abi.encodeWithSelector(Agreements.WrongState.selector, id, State.Claimed));
        market.close(id);
        vm.expectRevert(abi.encodeWithSelector(Agreements.WrongState.selector, id, State.Claimed));
        vm.prank(vm.addr(OPERATOR));
        market.release(id);
        market.refund(job);
        market.settleClaim(id);
        market.close(id);
        market.refund(job);
        same(balance(payee), 7e18);
        same(balance(coldWallet), DEPOSIT - 7e18);
    }

    function test_no_claim_after_deadline_and_grace() public {
        uint64 until = uint64(block.timestamp) + LIFE + GRACE;
        vm.warp(until);
        _refused(unpaid(TASK, 1e18), abi.encodeWithSelector(Claims.TooLate.selector, until));
    }

    function test_only_the_operator_claims() public {
        Unpaid[] memory tasks = list(unpaid(TASK, 1e18));
        vm.expectRevert(abi.encodeWithSelector(Agreements.NotOperator.selector, address(this)));
        market.claimUnpaid(id, Voucher(id, 0, 0), "", tasks);
    }

    function test_tasks_without_true_receipts_are_refused() public {
        Unpaid memory task = unpaid(TASK, 1e18);
        seal(task, NODE, STRANGER);
        _refused(task, abi.encodeWithSelector(Jobs.WrongSigner.selector, vm.addr(FARM), vm.addr(STRANGER)));
        seal(task, STRANGER, FARM);
        _refused(task, abi.encodeWithSelector(Jobs.WrongSigner.selector, vm.addr(NODE), vm.addr(STRANGER)));
        task = unpaid(TASK, 1e18);
        task.receipt = unpaid(OTHER, 1e18).receipt;
        _badTask(task, "another receipt");
        _badTask(unpaid(TASK, TASK_CAP + 1), "amount");
        _badTask(unpaid(TASK, 0), "amount");
    }

    function test_tasks_of_other_jobs_are_refused() public {
        string[5] memory others =
            ["j0123456789ac.f1.t0", "j0123456789a.f1.t0", "j0123456789ab1.f1.t0", "j0123456789ab", ""];
        for (uint256 i = 0; i < others.length; i++) {
            _badTask(unpaid(others[i], 1e18), "another job");
        }
    }

    function test_task_is_claimed_once_in_a_job() public {
        Unpaid[] memory twice = new Unpaid[](2);
        twice[0] = twice[1] = unpaid(TASK, 1e18);
        vm.expectRevert(abi.encodeWithSelector(Claims.BadTask.selector, TASK, "claimed before"));
        vm.prank(vm.addr(OPERATOR));
        market.claimUnpaid(id, Voucher(id, 0, 0), "", twice);
        claim(id, unpaid(TASK, 1e18));
        Offer memory offer = someOffer();
        Order memory order = someOrder(job, offer);
        order.salt = 1;
        id = open(offer, OPERATOR, order, SESSION);
        _badTask(unpaid(TASK, 1e18), "claimed before");
    }

    function test_no_more_tasks_than_ordered() public {
        Unpaid[] memory tasks = new Unpaid[](5);
        for (uint256 i = 0; i < 5; i++) {
            tasks[i] = unpaid(string.concat(TASK, text(i)), 1e18);
        }
        vm.expectRevert(abi.encodeWithSelector(Claims.TaskCount.selector, 4, 5));
        vm.prank(vm.addr(OPERATOR));
        market.claimUnpaid(id, Voucher(id, 0, 0), "", tasks);
        vm.expectRevert(abi.encodeWithSelector(Claims.TaskCount.selector, 4, 0));
        vm.prank(vm.addr(OPERATOR));
        market.claimUnpaid(id, Voucher(id, 0, 0), "", new Unpaid[](0));
    }

    function test_claim_stays_within_the_cap() public {
        redeem(id, CAP - 1e18);
        Voucher memory last = Voucher(id, CAP - 1e18, 0);
        bytes memory signature = marketSig(SESSION, hashes.voucher(last));
        Unpaid[] memory tasks = list(unpaid(TASK, 2e18));
        vm.expectRevert(abi.encodeWithSelector(Agreements.OverCap.selector, CAP, uint256(CAP) + 1e18));
        vm.prank(vm.addr(OPERATOR));
        market.claimUnpaid(id, last, signature, tasks);
    }

    function test_claim_stands_on_the_last_voucher() public {
        redeem(id, 20e18);
        Unpaid[] memory tasks = list(unpaid(TASK, 2e18));
        Voucher memory old = Voucher(id, 10e18, 0);
        bytes memory signature = marketSig(SESSION, hashes.voucher(old));
        vm.expectRevert(abi.encodeWithSelector(Claims.NotLast.selector, 20e18, 10e18));
        vm.prank(vm.addr(OPERATOR));
        market.claimUnpaid(id, old, signature, tasks);
        old = Voucher(id, 20e18, 0);
        signature = marketSig(STRANGER, hashes.voucher(old));
        vm.expectRevert(abi.encodeWithSelector(Jobs.NoSession.selector, vm.addr(STRANGER)));
        vm.prank(vm.addr(OPERATOR));
        market.claimUnpaid(id, old, signature, tasks);
        claim(id, Voucher(id, 25e18, 0), tasks);
        same(balance(payee), 25e18);
        same(market.claimOf(id).base, 25e18);
    }

    // --- a task that was paid already

    function _tree() private pure returns (Accepted memory one, Accepted memory two, bytes32 root) {
        one = Accepted(keccak256(bytes(TASK)), keccak256("pixels"), 6e18);
        two = Accepted(keccak256("another task"), keccak256("pixels"), 14e18);
        root = AcceptedTree.node(AcceptedTree.leaf(one), 6e18, AcceptedTree.leaf(two), 14e18);
    }

    function _way(bytes32 hash, uint128 sum, bool left) private pure returns (Beside[] memory way) {
        way = new Beside[](1);
        way[0] = Beside(hash, sum, left);
    }

    function test_task_paid_by_voucher_is_struck_from_the_claim() public {
        (Accepted memory one, Accepted memory two, bytes32 root) = _tree();
        Unpaid[] memory tasks = new Unpaid[](2);
        (tasks[0], tasks[1]) = (unpaid(TASK, 7e18), unpaid(OTHER, 3e18));
        claim(id, Voucher(id, 20e18, root), tasks);
        Beside[] memory way = _way(AcceptedTree.leaf(two), 14e18, false);
        market.showPaid(id, one, way);
        vm.expectRevert(abi.encodeWithSelector(Claims.NotShown.selector, one.task));
        market.showPaid(id, one, way);
        vm.warp(block.timestamp + CLAIM);
        market.settleClaim(id);
        same(balance(payee), 20e18 + 1e18 + 3e18);
    }

    function test_false_proofs_strike_nothing() public {
        (Accepted memory one, Accepted memory two, bytes32 root) = _tree();
        claim(id, Voucher(id, 20e18, root), list(unpaid(TASK, 7e18)));
        bytes memory why = abi.encodeWithSelector(Claims.NotShown.selector, one.task);
        Beside[] memory way = _way(AcceptedTree.leaf(two), 14e18, true);
        vm.expectRevert(why);
        market.showPaid(id, one, way);
        way = _way(AcceptedTree.leaf(two), 13e18, false);
        vm.expectRevert(why);
        market.showPaid(id, one, way);
        one.amount = 7e18;
        vm.expectRevert(why);
        market.showPaid(id, one, way);
        way = _way(AcceptedTree.leaf(one), 6e18, true);
        vm.expectRevert(abi.encodeWithSelector(Claims.NotShown.selector, two.task));
        market.showPaid(id, two, way);
    }

    // --- contests

    function test_claim_for_work_never_done_is_contested_and_refused() public {
        claim(id, unpaid(TASK, 7e18));
        contest(id);
        uint256 before = balance(client);
        _rule(0);
        same(balance(payee), 0);
        same(balance(client), before + 0.7e18);
        vm.warp(block.timestamp + LIFE + GRACE);
        market.close(id);
    }

    function test_contest_that_fails_costs_its_bond() public {
        claim(id, unpaid(TASK, 7e18));
        vm.prank(watcher);
        market.contest(id);
        _rule(7e18);
        same(balance(payee), 7.7e18);
        same(balance(watcher), DEPOSIT - 0.7e18);
    }

    function test_silent_arbiters_let_the_receipts_stand() public {
        claim(id, unpaid(TASK, 7e18));
        uint256 before = balance(client);
        contest(id);
        uint64 until = uint64(block.timestamp) + DECISION;
        vm.warp(until - 1);
        vm.expectRevert(abi.encodeWithSelector(Jobs.TooEarly.selector, until));
        market.settleClaim(id);
        vm.warp(until);
        bytes memory signature = disputesSig(ARBITER, keccak256(abi.encode(RULING, id, uint128(0))));
        vm.expectRevert(abi.encodeWithSelector(Claims.TooLate.selector, until));
        disputes.ruleClaim(Ruling(id, 0), bench(signature));
        market.settleClaim(id);
        same(balance(payee), 7e18);
        same(balance(client), before);
    }

    function test_only_client_and_watcher_contest_once_and_in_time() public {
        claim(id, unpaid(TASK, 7e18));
        vm.expectRevert(abi.encodeWithSelector(Claims.CannotContest.selector, address(this)));
        market.contest(id);
        contest(id);
        vm.expectRevert(abi.encodeWithSelector(Claims.CannotContest.selector, watcher));
        vm.prank(watcher);
        market.contest(id);
    }

    function test_contest_comes_in_the_window() public {
        claim(id, unpaid(TASK, 7e18));
        uint64 until = uint64(block.timestamp) + CLAIM;
        vm.warp(until);
        vm.expectRevert(abi.encodeWithSelector(Claims.TooLate.selector, until));
        vm.prank(client);
        market.contest(id);
    }

    function test_arbiters_rule_within_the_claim_and_only_when_it_is_contested() public {
        claim(id, unpaid(TASK, 7e18));
        bytes memory signature = disputesSig(ARBITER, keccak256(abi.encode(RULING, id, uint128(0))));
        vm.expectRevert(abi.encodeWithSelector(Agreements.WrongState.selector, id, State.Claimed));
        disputes.ruleClaim(Ruling(id, 0), bench(signature));
        contest(id);
        signature = disputesSig(ARBITER, keccak256(abi.encode(RULING, id, uint128(7e18 + 1))));
        vm.expectRevert(abi.encodeWithSelector(Agreements.OverCap.selector, 7e18, 7e18 + 1));
        disputes.ruleClaim(Ruling(id, 7e18 + 1), bench(signature));
        vm.expectRevert(abi.encodeWithSelector(Claims.NotDisputes.selector, address(this)));
        market.decide(id, 0);
    }

    function test_strangers_are_no_arbiters() public {
        claim(id, unpaid(TASK, 7e18));
        contest(id);
        bytes memory signature = disputesSig(STRANGER, keccak256(abi.encode(RULING, id, uint128(0))));
        Bench memory found = bench(signature);
        vm.expectRevert(abi.encodeWithSelector(Disputes.NotTheBench.selector));
        disputes.ruleClaim(Ruling(id, 0), found);
        found.arbiters[0] = vm.addr(STRANGER);
        vm.expectRevert(abi.encodeWithSelector(Disputes.NotTheBench.selector));
        disputes.ruleClaim(Ruling(id, 0), found);
    }

    /// Whatever the tree's builder writes into it, what can be shown never passes what was paid.
    /// Small figures, so that they often agree.
    function testFuzz_shown_amounts_never_pass_the_sum(uint64 a, uint64 b, uint64 falseA, uint64 falseB, uint64 total)
        public
        pure
    {
        (a, b, falseA, falseB, total) = (a % 3, b % 3, falseA % 3, falseB % 3, total % 5);
        Accepted memory one = Accepted("one", 0, a);
        Accepted memory two = Accepted("two", 0, b);
        bytes32 root = AcceptedTree.node(AcceptedTree.leaf(one), falseA, AcceptedTree.leaf(two), falseB);
        uint256 shown = 0;
        if (AcceptedTree.holds(root, total, one, _way(AcceptedTree.leaf(two), falseB, false))) shown += a;
        if (AcceptedTree.holds(root, total, two, _way(AcceptedTree.leaf(one), falseA, true))) shown += b;
        require(shown <= total, "more was shown than was paid");
    }
}
