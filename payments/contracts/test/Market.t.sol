// SPDX-License-Identifier: GPL-3.0-or-later
pragma solidity 0.8.37;

import {Agreements, State} from "../src/Agreements.sol";
import {Jobs} from "../src/Jobs.sol";
import {Offer, Order, Raise, Release, Terms, Voucher} from "../src/MarketMessages.sol";
import {StakeVault} from "../src/StakeVault.sol";
import {World} from "./World.sol";

/// @notice Agreements and vouchers, one rule a test.
contract MarketTest is World {
    function setUp() public {
        build();
    }

    // --- matching

    function test_match_reserves_and_locks() public {
        uint64 job = openJob();
        bytes32 id = openAgreement(job);
        same(market.available(job), DEPOSIT - CAP);
        same(vault.slashable(vm.addr(OPERATOR), id), CAP);
        (uint128 free, uint128 bound) = vault.accounts(vm.addr(OPERATOR));
        same(free, 1000e18 - CAP);
        same(bound, CAP);
    }

    function test_match_is_carried_out_once() public {
        uint64 job = openJob();
        bytes32 id = openAgreement(job);
        Offer memory offer = someOffer();
        Order memory order = someOrder(job, offer);
        (bytes memory one, bytes memory two) =
            (marketSig(OPERATOR, hashes.offer(offer)), marketSig(SESSION, hashes.order(order)));
        vm.expectRevert(abi.encodeWithSelector(Agreements.AlreadyOpen.selector, id));
        market.openAgreement(offer, one, order, two);
    }

    function _unmatched(Offer memory offer, uint256 operator, Order memory order, bytes memory why) private {
        (bytes memory one, bytes memory two) =
            (marketSig(operator, hashes.offer(offer)), marketSig(SESSION, hashes.order(order)));
        vm.expectRevert(why);
        market.openAgreement(offer, one, order, two);
    }

    function _unfit(uint64 job, Offer memory offer, string memory field) private {
        bytes memory why = abi.encodeWithSelector(Agreements.OfferUnfit.selector, field);
        _unmatched(offer, OPERATOR, someOrder(job, offer), why);
    }

    function test_unfit_offers_are_refused() public {
        uint64 job = openJob();
        Offer memory offer = someOffer();
        offer.farm = vm.addr(STRANGER);
        _unfit(job, offer, "farm");
        offer = someOffer();
        offer.price = 2e15 + 1;
        _unfit(job, offer, "price");
        offer.price = 0;
        _unfit(job, offer, "price");
        offer = someOffer();
        offer.stakeShare = 9_999;
        _unfit(job, offer, "stakeShare");
        offer = someOffer();
        offer.expiry = uint64(block.timestamp) - 1;
        _unfit(job, offer, "expiry");
        offer = someOffer();
        offer.payee = address(0);
        _unfit(job, offer, "payee");
        offer.payee = address(market);
        _unfit(job, offer, "payee");
        offer = someOffer();
        offer.node = address(0);
        _unfit(job, offer, "node");
        offer = someOffer();
        offer.capacity = 0;
        _unfit(job, offer, "capacity");
    }

    /// A stranger's own job cannot bind somebody's stake: it would need that farm's signature under its terms.
    function test_stranger_cannot_use_an_offer() public {
        uint64 job = openJob();
        Offer memory offer = someOffer();
        Order memory order = someOrder(job, offer);
        (bytes memory one, bytes memory two) =
            (marketSig(OPERATOR, hashes.offer(offer)), marketSig(STRANGER, hashes.order(order)));
        vm.expectRevert(abi.encodeWithSelector(Jobs.NoSession.selector, vm.addr(STRANGER)));
        market.openAgreement(offer, one, order, two);
    }

    function test_offer_is_not_anothers() public {
        uint64 job = openJob();
        Offer memory offer = someOffer();
        bytes memory why =
            abi.encodeWithSelector(StakeVault.TooLittleStake.selector, vm.addr(STRANGER), 0, uint256(CAP));
        _unmatched(offer, STRANGER, someOrder(job, offer), why);
        Order memory order = someOrder(job, offer);
        offer.price = 2e15;
        _unmatched(
            offer, OPERATOR, order, abi.encodeWithSelector(Agreements.OtherOffer.selector, hashes.offer(offer))
        );
    }

    function test_offer_is_not_over_used() public {
        uint64 job = openJob();
        Offer memory offer = someOffer();
        offer.capacity = 150_000;
        Order memory order = someOrder(job, offer);
        bytes32 id = open(offer, OPERATOR, order, SESSION);
        order.salt = 1;
        _unmatched(
            offer, OPERATOR, order, abi.encodeWithSelector(Agreements.OverOffer.selector, 150e18, uint256(2 * CAP))
        );
        Raise memory raise = Raise(id, 150e18 + 1);
        bytes memory signature = marketSig(SESSION, hashes.raise(raise));
        vm.expectRevert(abi.encodeWithSelector(Agreements.OverOffer.selector, 150e18, 150e18 + 1));
        market.raiseCap(raise, signature);
        vm.prank(vm.addr(OPERATOR));
        market.release(id);
        open(offer, OPERATOR, order, SESSION);
    }

    function test_number_stands_for_one_offer_and_can_be_cancelled() public {
        uint64 job = openJob();
        bytes32 id = openAgreement(job);
        Offer memory offer = someOffer();
        offer.capacity += 1;
        bytes memory gone = abi.encodeWithSelector(Agreements.OfferGone.selector, vm.addr(OPERATOR), 1);
        _unmatched(offer, OPERATOR, someOrder(job, offer), gone);
        vm.prank(vm.addr(OPERATOR));
        market.cancelOffer(1);
        Raise memory raise = Raise(id, CAP + 1);
        bytes memory signature = marketSig(SESSION, hashes.raise(raise));
        vm.expectRevert(gone);
        market.raiseCap(raise, signature);
    }

    function test_caps_never_pass_the_budget() public {
        uint64 job = openJob(someTerms(), CAP);
        bytes32 id = openAgreement(job);
        Raise memory raise = Raise(id, CAP + 1);
        bytes memory signature = marketSig(SESSION, hashes.raise(raise));
        vm.expectRevert(abi.encodeWithSelector(Jobs.OverBudget.selector, 0, 1));
        market.raiseCap(raise, signature);
        Offer memory offer = someOffer();
        Order memory order = someOrder(job, offer);
        order.salt = 1;
        _unmatched(offer, OPERATOR, order, abi.encodeWithSelector(Jobs.OverBudget.selector, 0, uint256(CAP)));
    }

    function test_stake_covers_what_may_still_be_earned() public {
        Terms memory terms = someTerms();
        terms.stakeShare = 30_000;
        uint64 job = openJob(terms, DEPOSIT);
        Offer memory offer = someOffer();
        offer.stakeShare = 30_000;
        bytes32 id = open(offer, OPERATOR, someOrder(job, offer), SESSION);
        same(vault.slashable(vm.addr(OPERATOR), id), 3 * CAP);
        redeem(id, CAP);
        raiseCap(id, 2 * CAP);
        same(vault.slashable(vm.addr(OPERATOR), id), 3 * CAP);
        raiseCap(id, 2 * CAP + 50e18);
        same(vault.slashable(vm.addr(OPERATOR), id), 450e18);
    }

    function test_caps_only_grow() public {
        bytes32 id = openAgreement(openJob());
        Raise memory raise = Raise(id, CAP);
        bytes memory signature = marketSig(SESSION, hashes.raise(raise));
        vm.expectRevert(abi.encodeWithSelector(Agreements.NotHigher.selector, CAP));
        market.raiseCap(raise, signature);
    }

    function test_nothing_opens_or_rises_after_the_deadline() public {
        uint64 job = openJob();
        bytes32 id = openAgreement(job);
        vm.warp(block.timestamp + LIFE);
        Raise memory raise = Raise(id, CAP + 1);
        bytes memory signature = marketSig(SESSION, hashes.raise(raise));
        vm.expectPartialRevert(Jobs.Over.selector);
        market.raiseCap(raise, signature);
        Offer memory offer = someOffer();
        Order memory order = someOrder(job, offer);
        order.salt = 1;
        _unmatched(offer, OPERATOR, order, abi.encodeWithSelector(Jobs.Over.selector, block.timestamp));
    }

    // --- vouchers

    function test_voucher_pays_the_difference_once() public {
        bytes32 id = openAgreement(openJob());
        same(redeem(id, 30e18), 30e18);
        same(redeem(id, 30e18), 0);
        same(redeem(id, 20e18), 0);
        same(redeem(id, 45e18), 15e18);
        same(balance(payee), 45e18);
    }

    function test_voucher_over_the_cap_pays_nothing() public {
        bytes32 id = openAgreement(openJob());
        Voucher memory voucher = Voucher(id, CAP + 1, 0);
        bytes memory signature = marketSig(SESSION, hashes.voucher(voucher));
        vm.expectRevert(abi.encodeWithSelector(Agreements.OverCap.selector, CAP, uint256(CAP) + 1));
        market.redeem(voucher, signature);
    }

    function test_voucher_of_another_key_agreement_or_chain_pays_nothing() public {
        uint64 job = openJob();
        bytes32 id = openAgreement(job);
        Offer memory offer = someOffer();
        Order memory order = someOrder(job, offer);
        order.salt = 1;
        bytes32 second = open(offer, OPERATOR, order, SESSION);
        Voucher memory voucher = Voucher(id, 1e18, 0);
        bytes memory good = marketSig(SESSION, hashes.voucher(voucher));
        bytes memory bad = marketSig(STRANGER, hashes.voucher(voucher));
        vm.expectRevert(abi.encodeWithSelector(Jobs.NoSession.selector, vm.addr(STRANGER)));
        market.redeem(voucher, bad);
        voucher.agreement = second;
        vm.expectPartialRevert(Jobs.NoSession.selector);
        market.redeem(voucher, good);
        voucher.agreement = id;
        vm.chainId(block.chainid + 1);
        vm.expectPartialRevert(Jobs.NoSession.selector);
        market.redeem(voucher, good);
    }

    /// Somebody who brings one of them first does not spoil the others.
    function test_many_vouchers_at_once() public {
        uint64 job = openJob();
        Offer memory offer = someOffer();
        Order memory order = someOrder(job, offer);
        Voucher[] memory vouchers = new Voucher[](3);
        bytes[] memory signatures = new bytes[](3);
        for (uint64 i = 0; i < 3; i++) {
            order.salt = i;
            vouchers[i] = Voucher(open(offer, OPERATOR, order, SESSION), 1e18 * (i + 1), 0);
            signatures[i] = marketSig(SESSION, hashes.voucher(vouchers[i]));
        }
        market.redeem(vouchers[1], signatures[1]);
        market.redeemAll(vouchers, signatures);
        same(balance(payee), 6e18);
        vm.expectRevert(abi.encodeWithSelector(Agreements.UnlikeLengths.selector));
        market.redeemAll(vouchers, new bytes[](2));
    }

    function test_malleated_signature_is_refused() public {
        bytes32 id = openAgreement(openJob());
        Voucher memory voucher = Voucher(id, 1e18, 0);
        (uint8 v, bytes32 r, bytes32 s) =
            vm.sign(SESSION, typed("Render Market", address(market), hashes.voucher(voucher)));
        uint256 order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;
        bytes memory other = abi.encodePacked(r, bytes32(order - uint256(s)), v == 27 ? uint8(28) : uint8(27));
        vm.expectPartialRevert(bytes4(keccak256("ECDSAInvalidSignatureS(bytes32)")));
        market.redeem(voucher, other);
    }

    // --- closing

    function test_operator_gives_up_the_rest() public {
        uint64 job = openJob();
        bytes32 id = openAgreement(job);
        redeem(id, 40e18);
        vm.expectRevert(abi.encodeWithSelector(Agreements.NotOperator.selector, address(this)));
        market.release(id);
        vm.prank(vm.addr(OPERATOR));
        market.release(id);
        same(market.available(job), DEPOSIT - 40e18);
        Voucher memory voucher = Voucher(id, 41e18, 0);
        bytes memory signature = marketSig(SESSION, hashes.voucher(voucher));
        vm.expectRevert(abi.encodeWithSelector(Agreements.WrongState.selector, id, State.Closed));
        market.redeem(voucher, signature);
    }

    function test_signed_release_waits_for_its_payment() public {
        bytes32 id = openAgreement(openJob());
        Release memory said = Release(id, 40e18);
        bytes memory forged = marketSig(STRANGER, hashes.release(said));
        bytes memory signature = marketSig(OPERATOR, hashes.release(said));
        vm.expectRevert(
            abi.encodeWithSelector(Jobs.WrongSigner.selector, vm.addr(OPERATOR), vm.addr(STRANGER))
        );
        market.releaseFor(said, forged);
        vm.expectRevert(abi.encodeWithSelector(Agreements.PaidLess.selector, 0, 40e18));
        market.releaseFor(said, signature);
        redeem(id, 40e18);
        market.releaseFor(said, signature);
    }

    function test_anybody_closes_after_deadline_and_grace_and_not_before() public {
        uint64 job = openJob();
        bytes32 id = openAgreement(job);
        uint64 until = uint64(block.timestamp) + LIFE + GRACE;
        vm.warp(until - 1);
        vm.expectRevert(abi.encodeWithSelector(Jobs.TooEarly.selector, until));
        market.close(id);
        redeem(id, 1e18);
        vm.warp(until);
        market.close(id);
        market.refund(job);
        same(balance(coldWallet) + balance(payee), DEPOSIT);
        same(balance(address(market)), 0);
    }

    function test_several_calls_in_one_transaction() public {
        bytes32 id = openAgreement(openJob());
        bytes[] memory calls = new bytes[](2);
        Voucher memory voucher = Voucher(id, 40e18, 0);
        calls[0] = abi.encodeCall(market.redeem, (voucher, marketSig(SESSION, hashes.voucher(voucher))));
        Release memory said = Release(id, 40e18);
        calls[1] = abi.encodeCall(market.releaseFor, (said, marketSig(OPERATOR, hashes.release(said))));
        market.multicall(calls);
        same(balance(payee), 40e18);
    }

    // --- fuzz

    /// Whatever vouchers come in whatever order, the greatest one within the cap is what was paid.
    function testFuzz_greatest_voucher_is_paid(uint128[8] memory figures) public {
        bytes32 id = openAgreement(openJob());
        uint256 greatest = 0;
        for (uint256 i = 0; i < figures.length; i++) {
            uint128 figure = figures[i] % (CAP + 1);
            redeem(id, figure);
            if (figure > greatest) greatest = figure;
            same(balance(payee), greatest);
            same(market.agreementOf(id).paid, greatest);
        }
    }

    function testFuzz_refund_and_payouts_are_the_deposit(uint128 deposit, uint128 cap, uint128 paid) public {
        deposit = uint128(uint256(deposit) % DEPOSIT);
        cap = deposit == 0 ? 0 : uint128(uint256(cap) % (deposit / 2 + 1));
        paid = cap == 0 ? 0 : uint128(uint256(paid) % cap);
        uint64 job = openJob(someTerms(), deposit);
        Offer memory offer = someOffer();
        Order memory order = someOrder(job, offer);
        order.cap = cap;
        bytes32 id = open(offer, OPERATOR, order, SESSION);
        redeem(id, paid);
        vm.warp(block.timestamp + LIFE + GRACE);
        market.close(id);
        market.refund(job);
        same(balance(payee), paid);
        same(balance(coldWallet), deposit - paid);
    }
}
