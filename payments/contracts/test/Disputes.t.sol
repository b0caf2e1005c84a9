// SPDX-License-Identifier: GPL-3.0-or-later
pragma solidity 0.8.37;

import {Attestation} from "../src/FarmMessages.sol";
import {Bench, Disputes, Slash, Stage} from "../src/Disputes.sol";
import {Jobs, Windows} from "../src/Jobs.sol";
import {Raise, Terms} from "../src/MarketMessages.sol";
import {RenderMarket} from "../src/RenderMarket.sol";
import {StakeVault} from "../src/StakeVault.sol";
import {World} from "./World.sol";

/// @notice Stake, and what takes it.
contract DisputesTest is World {
    string private constant TASK = "j0123456789ab.f1.t0";
    bytes32 private constant SLASH =
        keccak256("Slash(bytes32 agreement,uint128 amount,uint128 price,bytes32 reason)");
    bytes32 private constant WITHDRAWAL = keccak256("Withdrawal(bytes32 slash)");
    address private constant BURN = 0x000000000000000000000000000000000000dEaD;
    address private constant reporter = address(0x4E);

    uint64 private job;
    bytes32 private id;

    function setUp() public {
        build();
        job = openJob();
        id = openAgreement(job);
    }

    // --- equivocation

    function _two() private pure returns (Attestation memory one, Attestation memory other) {
        one = someAttestation(TASK);
        other = someAttestation(TASK);
        other.pixelRoot = keccak256("other pixels");
    }

    function _signed(Attestation memory said, uint256 key) private view returns (bytes memory) {
        return sig(key, hashes.attestation(said, vm.addr(FARM)));
    }

    function _report(Attestation memory one, Attestation memory other) private {
        (bytes memory a, bytes memory b) = (_signed(one, NODE), _signed(other, NODE));
        vm.prank(reporter);
        disputes.reportEquivocation(id, one, a, other, b);
    }

    function test_equivocation_takes_all_behind_the_agreement() public {
        redeem(id, 50e18);
        (Attestation memory one, Attestation memory other) = _two();
        _report(one, other);
        same(balance(reporter), 10e18);
        same(balance(coldWallet), TASK_CAP);
        same(balance(BURN), 80e18);
        same(vault.slashable(vm.addr(OPERATOR), id), 0);
    }

    function test_client_gets_no_more_than_it_paid() public {
        redeem(id, 4e18);
        (Attestation memory one, Attestation memory other) = _two();
        _report(one, other);
        same(balance(coldWallet), 4e18);
        same(balance(BURN), 86e18);
    }

    function _none(Attestation memory one, uint256 a, Attestation memory other, uint256 b, string memory reason)
        private
    {
        (bytes memory first, bytes memory second) = (_signed(one, a), _signed(other, b));
        vm.expectRevert(abi.encodeWithSelector(Disputes.NoEquivocation.selector, reason));
        disputes.reportEquivocation(id, one, first, other, second);
    }

    function test_what_is_no_equivocation() public {
        (Attestation memory one, Attestation memory other) = _two();
        _none(one, STRANGER, other, NODE, "another node");
        _none(one, NODE, other, STRANGER, "another node");
        other.token += 1;
        _none(one, NODE, other, NODE, "two leases");
        other = someAttestation(TASK);
        other.renderMilliseconds += 1;
        _none(one, NODE, other, NODE, "the same pixels");
        other = someAttestation("j0123456789ab.f1.t1");
        _none(one, NODE, other, NODE, "two tasks");
        (one, other) = (someAttestation("j1.f1.t0"), someAttestation("j1.f1.t0"));
        _none(one, NODE, other, NODE, "another job");
    }

    function test_attestations_for_another_farm_are_none() public {
        (Attestation memory one, Attestation memory other) = _two();
        bytes memory a = _signed(one, NODE);
        bytes memory b = sig(NODE, hashes.attestation(other, vm.addr(STRANGER)));
        vm.expectRevert(abi.encodeWithSelector(Disputes.NoEquivocation.selector, "another node"));
        disputes.reportEquivocation(id, one, a, other, b);
    }

    function test_lease_is_slashed_for_once() public {
        (Attestation memory one, Attestation memory other) = _two();
        _report(one, other);
        _none(other, NODE, one, NODE, "reported before");
    }

    function test_slashed_agreement_grows_no_more() public {
        (Attestation memory one, Attestation memory other) = _two();
        _report(one, other);
        Raise memory raise = Raise(id, CAP + 1);
        bytes memory signature = marketSig(SESSION, hashes.raise(raise));
        vm.expectRevert(abi.encodeWithSelector(StakeVault.AgreementSlashed.selector, id));
        market.raiseCap(raise, signature);
    }

    // --- slashes by arbiters

    function _propose(Slash memory said) private returns (bytes32) {
        bytes32 hash = keccak256(abi.encode(SLASH, said.agreement, said.amount, said.price, said.reason));
        return disputes.proposeSlash(said, bench(disputesSig(ARBITER, hash)));
    }

    function test_arbiters_slash_after_the_delay_and_nobody_gets_more_than_the_price() public {
        redeem(id, 50e18);
        bytes32 slash = _propose(Slash(id, 60e18, 7e18, "verdict"));
        uint64 due = uint64(block.timestamp) + SLASH_DELAY;
        vm.warp(due - 1);
        vm.expectRevert(abi.encodeWithSelector(Disputes.TooEarly.selector, due));
        disputes.executeSlash(slash);
        vm.warp(due);
        disputes.executeSlash(slash);
        same(balance(coldWallet), 7e18);
        same(balance(BURN), 53e18);
        same(vault.slashable(vm.addr(OPERATOR), id), CAP - 60e18);
        vm.expectRevert(abi.encodeWithSelector(Disputes.WrongStage.selector, slash, Stage.Done));
        disputes.executeSlash(slash);
    }

    function test_slash_is_capped_at_what_is_behind_the_agreement() public {
        bytes32 slash = _propose(Slash(id, 500e18, 0, "verdict"));
        vm.warp(block.timestamp + SLASH_DELAY);
        disputes.executeSlash(slash);
        same(balance(BURN), CAP);
        (uint128 free,) = vault.accounts(vm.addr(OPERATOR));
        same(free, 1000e18 - CAP);
    }

    function test_several_slashes_give_the_client_no_more_than_it_paid() public {
        redeem(id, 5e18);
        bytes32 one = _propose(Slash(id, 20e18, 4e18, "one"));
        bytes32 two = _propose(Slash(id, 20e18, 4e18, "two"));
        vm.warp(block.timestamp + SLASH_DELAY);
        disputes.executeSlash(one);
        disputes.executeSlash(two);
        same(balance(coldWallet), 5e18);
    }

    function test_mistaken_slash_is_taken_back() public {
        bytes32 slash = _propose(Slash(id, 60e18, 7e18, "verdict"));
        Bench memory forged = bench(disputesSig(STRANGER, keccak256(abi.encode(WITHDRAWAL, slash))));
        vm.expectRevert(abi.encodeWithSelector(Disputes.NotTheBench.selector));
        disputes.withdrawSlash(slash, forged);
        disputes.withdrawSlash(slash, bench(disputesSig(ARBITER, keccak256(abi.encode(WITHDRAWAL, slash)))));
        vm.warp(block.timestamp + SLASH_DELAY);
        vm.expectRevert(abi.encodeWithSelector(Disputes.WrongStage.selector, slash, Stage.Withdrawn));
        disputes.executeSlash(slash);
    }

    function test_slash_is_proposed_once() public {
        bytes32 slash = _propose(Slash(id, 60e18, 7e18, "verdict"));
        bytes32 hash = keccak256(abi.encode(SLASH, id, uint128(60e18), uint128(7e18), bytes32("verdict")));
        Bench memory again = bench(disputesSig(ARBITER, hash));
        vm.expectRevert(abi.encodeWithSelector(Disputes.WrongStage.selector, slash, Stage.Proposed));
        disputes.proposeSlash(Slash(id, 60e18, 7e18, "verdict"), again);
    }

    function test_one_arbiter_does_not_count_twice() public {
        Terms memory terms = someTerms();
        terms.name = "jTwo";
        terms.arbiters = new address[](2);
        (terms.arbiters[0], terms.arbiters[1]) = (vm.addr(ARBITER), vm.addr(STRANGER));
        if (terms.arbiters[0] > terms.arbiters[1]) {
            (terms.arbiters[0], terms.arbiters[1]) = (terms.arbiters[1], terms.arbiters[0]);
        }
        terms.threshold = 2;
        bytes32 other = openAgreement(openJob(terms, DEPOSIT));
        bytes32 hash = keccak256(abi.encode(SLASH, other, uint128(1), uint128(0), bytes32(0)));
        Bench memory twice = Bench(terms.arbiters, 2, new bytes[](2));
        twice.signatures[0] = twice.signatures[1] = disputesSig(ARBITER, hash);
        vm.expectRevert(abi.encodeWithSelector(Disputes.NotTheBench.selector));
        disputes.proposeSlash(Slash(other, 1, 0, 0), twice);
        bool first = terms.arbiters[0] == vm.addr(ARBITER);
        twice.signatures[0] = disputesSig(first ? ARBITER : STRANGER, hash);
        twice.signatures[1] = disputesSig(first ? STRANGER : ARBITER, hash);
        disputes.proposeSlash(Slash(other, 1, 0, 0), twice);
    }

    // --- stake on its way out

    function test_stake_stays_slashable_while_it_unbonds() public {
        vm.prank(vm.addr(OPERATOR));
        market.release(id);
        uint64 until = uint64(block.timestamp) + UNBONDING;
        vm.warp(until - 1);
        vm.expectRevert(abi.encodeWithSelector(StakeVault.StillBound.selector, id, until, 0));
        vault.free(vm.addr(OPERATOR), id);
        (Attestation memory one, Attestation memory other) = _two();
        _report(one, other);
        same(balance(BURN), 90e18);
        vm.warp(until);
        vault.free(vm.addr(OPERATOR), id);
        (uint128 free, uint128 bound) = vault.accounts(vm.addr(OPERATOR));
        same(free, 900e18);
        same(bound, 0);
    }

    function test_case_holds_the_stake_until_it_is_decided() public {
        vm.prank(vm.addr(OPERATOR));
        market.release(id);
        uint64 until = uint64(block.timestamp) + UNBONDING;
        vm.warp(until - 1);
        bytes32 slash = _propose(Slash(id, 60e18, 0, "verdict"));
        vm.warp(until);
        vm.expectRevert(abi.encodeWithSelector(StakeVault.StillBound.selector, id, until, 1));
        vault.free(vm.addr(OPERATOR), id);
        vm.warp(until + SLASH_DELAY);
        disputes.executeSlash(slash);
        vault.free(vm.addr(OPERATOR), id);
        (uint128 free,) = vault.accounts(vm.addr(OPERATOR));
        same(free, 940e18);
    }

    function test_nothing_is_slashed_after_it_was_freed() public {
        vm.prank(vm.addr(OPERATOR));
        market.release(id);
        vm.warp(block.timestamp + UNBONDING);
        vault.free(vm.addr(OPERATOR), id);
        (Attestation memory one, Attestation memory other) = _two();
        (bytes memory a, bytes memory b) = (_signed(one, NODE), _signed(other, NODE));
        vm.expectRevert(abi.encodeWithSelector(Disputes.NothingToSlash.selector, id));
        disputes.reportEquivocation(id, one, a, other, b);
        Bench memory found =
            bench(disputesSig(ARBITER, keccak256(abi.encode(SLASH, id, uint128(1), uint128(0), bytes32(0)))));
        vm.expectRevert(abi.encodeWithSelector(Disputes.NothingToSlash.selector, id));
        disputes.proposeSlash(Slash(id, 1, 0, 0), found);
    }

    function test_bound_stake_is_not_withdrawn() public {
        vm.prank(vm.addr(OPERATOR));
        vm.expectRevert(
            abi.encodeWithSelector(
                StakeVault.TooLittleStake.selector, vm.addr(OPERATOR), 1000e18 - CAP, 1000e18 - CAP + 1
            )
        );
        vault.withdraw(1000e18 - CAP + 1);
        vm.expectRevert(abi.encodeWithSelector(StakeVault.StillBound.selector, id, 0, 0));
        vault.free(vm.addr(OPERATOR), id);
    }

    function test_only_market_and_disputes_touch_stake() public {
        address operator = vm.addr(OPERATOR);
        bytes memory why = abi.encodeWithSelector(StakeVault.NotAllowed.selector, address(this));
        vm.expectRevert(why);
        vault.back(operator, id, 1);
        vm.expectRevert(why);
        vault.unbond(operator, id);
        vm.expectRevert(why);
        vault.freeze(operator, id);
        vm.expectRevert(why);
        vault.thaw(operator, id);
        vm.expectRevert(why);
        vault.slash(operator, id, 1, address(this), 1, address(this), 0);
    }

    function test_unbonding_outlasts_all_windows() public {
        vm.expectRevert(abi.encodeWithSelector(Jobs.BadWindows.selector));
        new RenderMarket(token, Windows(1, 2, 3, 6, 1));
        new RenderMarket(token, Windows(1, 2, 3, 7, 1));
        vm.expectRevert(abi.encodeWithSelector(Jobs.BadWindows.selector));
        new RenderMarket(token, Windows(1, 2, 3, 7, 0));
        vm.expectRevert(abi.encodeWithSelector(Jobs.BadWindows.selector));
        new RenderMarket(token, Windows(1, 2, 3, 7, 8));
        vm.expectRevert(abi.encodeWithSelector(Jobs.BadWindows.selector));
        new RenderMarket(token, Windows(1, 2, 3, 367 days, 1));
    }

    /// However much is taken and whatever price is named: at least a tenth burns, nobody gets what is not theirs.
    function testFuzz_split(uint128 paid, uint128 amount, uint128 price) public {
        paid = paid % (CAP + 1);
        redeem(id, paid);
        bytes32 slash = _propose(Slash(id, amount, price, 0));
        vm.warp(block.timestamp + SLASH_DELAY);
        disputes.executeSlash(slash);
        uint256 taken = amount < CAP ? amount : CAP;
        uint256 got = balance(coldWallet);
        require(got <= price && got <= paid, "the client gained");
        require(balance(BURN) >= taken / 10, "too little was burned");
        same(got + balance(BURN), taken);
    }
}
