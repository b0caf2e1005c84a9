// SPDX-License-Identifier: GPL-3.0-or-later
pragma solidity 0.8.37;

import {Jobs} from "../src/Jobs.sol";
import {Offer, Order, Raise, Terms, Voucher} from "../src/MarketMessages.sol";
import {World} from "./World.sol";

/// @notice Jobs and session keys, one rule a test.
contract JobsTest is World {
    function setUp() public {
        build();
    }

    // --- jobs

    function test_deposit_is_held_and_available() public {
        uint64 job = openJob();
        same(balance(address(market)), DEPOSIT);
        same(market.available(job), DEPOSIT);
        same(market.numbers(vm.addr(FARM), NAME), job);
    }

    function test_name_of_a_farm_is_taken_once() public {
        uint64 job = openJob();
        Terms memory terms = someTerms();
        bytes memory signature = marketSig(FARM, hashes.terms(terms));
        vm.expectRevert(abi.encodeWithSelector(Jobs.NameTaken.selector, job));
        vm.prank(client);
        market.openJob(terms, signature, 0);
    }

    function test_job_needs_its_farms_signature() public {
        Terms memory terms = someTerms();
        bytes memory signature = marketSig(STRANGER, hashes.terms(terms));
        vm.expectRevert(abi.encodeWithSelector(Jobs.WrongSigner.selector, vm.addr(FARM), vm.addr(STRANGER)));
        vm.prank(client);
        market.openJob(terms, signature, DEPOSIT);
    }

    function test_terms_are_for_their_client_only() public {
        Terms memory terms = someTerms();
        bytes memory signature = marketSig(FARM, hashes.terms(terms));
        vm.expectRevert(abi.encodeWithSelector(Jobs.NotClient.selector, address(this)));
        market.openJob(terms, signature, DEPOSIT);
    }

    function _refused(Terms memory terms, bytes memory why) private {
        bytes memory signature = marketSig(FARM, hashes.terms(terms));
        vm.expectRevert(why);
        vm.prank(client);
        market.openJob(terms, signature, DEPOSIT);
    }

    function _badTerms(Terms memory terms, string memory field) private {
        _refused(terms, abi.encodeWithSelector(Jobs.BadTerms.selector, field));
    }

    function test_terms_out_of_bounds_are_refused() public {
        Terms memory terms = someTerms();
        terms.refundTo = address(0);
        _badTerms(terms, "refundTo");
        terms = someTerms();
        terms.sessionKey = address(0);
        _badTerms(terms, "sessionKey");
        terms = someTerms();
        terms.stakeShare = 9_999;
        _badTerms(terms, "stakeShare");
        terms = someTerms();
        terms.deadline += 366 days;
        _badTerms(terms, "deadline");
        terms.deadline = uint64(block.timestamp);
        _refused(terms, abi.encodeWithSelector(Jobs.Over.selector, block.timestamp));
    }

    function test_names_are_letters_and_digits() public {
        bytes32[5] memory bad =
            [bytes32(0), "j.1", bytes32("j1") | bytes32(uint256(1)), bytes32(type(uint256).max), "j 1"];
        for (uint256 i = 0; i < bad.length; i++) {
            Terms memory terms = someTerms();
            terms.name = bad[i];
            _badTerms(terms, "name");
        }
    }

    function test_arbiters_are_ascending_and_enough() public {
        Terms memory terms = someTerms();
        terms.threshold = 0;
        _badTerms(terms, "threshold");
        terms.threshold = 2;
        _badTerms(terms, "threshold");
        terms.arbiters = new address[](2);
        terms.arbiters[0] = terms.arbiters[1] = vm.addr(ARBITER);
        _badTerms(terms, "arbiters");
        terms.arbiters = new address[](17);
        _badTerms(terms, "arbiters");
    }

    function test_anybody_tops_up() public {
        uint64 job = openJob();
        vm.prank(watcher);
        market.topUp(job, 5e18);
        same(market.available(job), DEPOSIT + 5e18);
        vm.expectRevert(abi.encodeWithSelector(Jobs.NoJob.selector, job + 1));
        market.topUp(job + 1, 1);
    }

    function test_client_takes_back_what_is_not_reserved_and_no_more() public {
        uint64 job = openJob();
        openAgreement(job);
        vm.prank(client);
        vm.expectRevert(abi.encodeWithSelector(Jobs.OverBudget.selector, DEPOSIT - CAP, DEPOSIT - CAP + 1));
        market.takeBack(job, DEPOSIT - CAP + 1);
        vm.prank(client);
        market.takeBack(job, DEPOSIT - CAP);
        same(balance(coldWallet), DEPOSIT - CAP);
        vm.expectRevert(abi.encodeWithSelector(Jobs.NotClient.selector, address(this)));
        market.takeBack(job, 0);
    }

    function test_refund_needs_nobody_after_deadline_and_grace() public {
        uint64 job = openJob();
        uint64 until = uint64(block.timestamp) + LIFE + GRACE;
        vm.warp(until - 1);
        vm.expectRevert(abi.encodeWithSelector(Jobs.TooEarly.selector, until));
        market.refund(job);
        vm.warp(until);
        market.refund(job);
        same(balance(coldWallet), DEPOSIT);
        same(balance(address(market)), 0);
    }

    function test_client_ends_the_job_and_nobody_else() public {
        uint64 job = openJob();
        vm.expectRevert(abi.encodeWithSelector(Jobs.NotClient.selector, address(this)));
        market.end(job);
        vm.prank(client);
        market.end(job);
        vm.prank(client);
        vm.expectPartialRevert(Jobs.Over.selector);
        market.end(job);
        vm.prank(client);
        vm.expectPartialRevert(Jobs.Over.selector);
        market.topUp(job, 1);
    }

    // --- session keys

    function test_revoked_key_opens_and_raises_nothing_but_its_vouchers_are_paid_for_a_window() public {
        uint64 job = openJob();
        bytes32 id = openAgreement(job);
        vm.prank(client);
        market.revoke(job, vm.addr(SESSION));
        Raise memory raise = Raise(id, CAP + 1);
        bytes memory signature = marketSig(SESSION, hashes.raise(raise));
        vm.expectRevert(abi.encodeWithSelector(Jobs.NoSession.selector, vm.addr(SESSION)));
        market.raiseCap(raise, signature);
        Offer memory offer = someOffer();
        Order memory order = someOrder(job, offer);
        order.salt = 1;
        (bytes memory one, bytes memory two) =
            (marketSig(OPERATOR, hashes.offer(offer)), marketSig(SESSION, hashes.order(order)));
        vm.expectRevert(abi.encodeWithSelector(Jobs.NoSession.selector, vm.addr(SESSION)));
        market.openAgreement(offer, one, order, two);
        vm.warp(block.timestamp + CLAIM);
        same(redeem(id, 1e18), 1e18);
        vm.warp(block.timestamp + 1);
        Voucher memory late = Voucher(id, 2e18, 0);
        signature = marketSig(SESSION, hashes.voucher(late));
        vm.expectRevert(abi.encodeWithSelector(Jobs.NoSession.selector, vm.addr(SESSION)));
        market.redeem(late, signature);
    }

    function test_another_key_takes_over() public {
        uint64 job = openJob();
        bytes32 id = openAgreement(job);
        vm.expectRevert(abi.encodeWithSelector(Jobs.NotClient.selector, address(this)));
        market.appoint(job, vm.addr(STRANGER));
        vm.prank(client);
        market.appoint(job, vm.addr(STRANGER));
        same(redeem(Voucher(id, 3e18, 0), STRANGER), 3e18);
        vm.expectRevert(abi.encodeWithSelector(Jobs.NotClient.selector, address(this)));
        market.revoke(job, vm.addr(STRANGER));
    }

    function test_stolen_session_key_takes_open_caps_at_most() public {
        uint64 job = openJob();
        bytes32 id = openAgreement(job);
        vm.prank(client);
        market.revoke(job, vm.addr(SESSION));
        redeem(id, CAP);
        vm.warp(block.timestamp + LIFE + GRACE);
        market.close(id);
        market.refund(job);
        same(balance(coldWallet), DEPOSIT - CAP);
    }
}
