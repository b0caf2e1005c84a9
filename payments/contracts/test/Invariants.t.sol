// SPDX-License-Identifier: GPL-3.0-or-later
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {Agreement, State} from "../src/Agreements.sol";
import {Job} from "../src/Jobs.sol";
import {RenderMarket} from "../src/RenderMarket.sol";
import {StakeVault} from "../src/StakeVault.sol";
import {Handler, RenderParts} from "./Handler.sol";

/// @notice What holds whatever everybody does in whatever order.
contract InvariantsTest {
    struct FuzzSelector {
        address addr;
        bytes4[] selectors;
    }

    address private constant BURN = 0x000000000000000000000000000000000000dEaD;
    uint64 private constant JOBS = 2;

    Handler private handler;
    RenderMarket private market;
    StakeVault private vault;
    IERC20 private token;

    function setUp() public {
        handler = new Handler();
        RenderParts memory parts = handler.all();
        (market, vault, token) = (RenderMarket(parts.market), StakeVault(parts.vault), IERC20(parts.token));
    }

    function targetContracts() external view returns (address[] memory found) {
        found = new address[](1);
        found[0] = address(handler);
    }

    function targetSelectors() external view returns (FuzzSelector[] memory found) {
        found = new FuzzSelector[](1);
        bytes4[23] memory all = [
            Handler.topUp.selector,
            Handler.takeBack.selector,
            Handler.end.selector,
            Handler.contestClaim.selector,
            Handler.open.selector,
            Handler.raise.selector,
            Handler.redeemVoucher.selector,
            Handler.redeemVoucher.selector,
            Handler.fileClaim.selector,
            Handler.fileClaim.selector,
            Handler.strike.selector,
            Handler.settle.selector,
            Handler.rule.selector,
            Handler.release.selector,
            Handler.close.selector,
            Handler.refund.selector,
            Handler.wait_.selector,
            Handler.stake.selector,
            Handler.unstake.selector,
            Handler.freeStake.selector,
            Handler.propose.selector,
            Handler.execute.selector,
            Handler.equivocate.selector
        ];
        bytes4[] memory selectors = new bytes4[](23);
        for (uint256 i = 0; i < 23; i++) {
            selectors[i] = all[i];
        }
        found[0] = FuzzSelector(address(handler), selectors);
    }

    function _agreement(uint256 i) private view returns (bytes32 id, Agreement memory agreement) {
        id = handler.ids(i);
        agreement = market.agreementOf(id);
    }

    /// One campaign checks them all after every call.
    function invariant_everything_holds() external view {
        _escrow_covers_remainders_and_bonds();
        _caps_within_budget();
        _paid_within_cap_and_promises();
        _claim_settles_once();
        _offers_within_capacity();
        _vault_covers_stakes();
        _slash_within_slashable();
        _stake_covers_what_may_be_earned();
    }

    /// The escrow holds what was put in and neither paid nor taken back, and the bonds of contests.
    function _escrow_covers_remainders_and_bonds() private view {
        uint256 expected = 0;
        for (uint64 job = 1; job <= JOBS; job++) {
            expected += market.jobOf(job).budget;
        }
        for (uint256 i = 0; i < handler.agreements(); i++) {
            (bytes32 id, Agreement memory agreement) = _agreement(i);
            expected = expected + market.claimOf(id).bond - agreement.paid;
        }
        require(token.balanceOf(address(market)) == expected, "the escrow does not add up");
    }

    /// Σ caps of open agreements and payments of closed ones is what is reserved, and never above the budget.
    function _caps_within_budget() private view {
        uint256[] memory promised = new uint256[](JOBS + 1);
        for (uint256 i = 0; i < handler.agreements(); i++) {
            (, Agreement memory agreement) = _agreement(i);
            promised[agreement.job] += agreement.state == State.Closed ? agreement.paid : agreement.cap;
        }
        for (uint64 job = 1; job <= JOBS; job++) {
            Job memory found = market.jobOf(job);
            require(found.committed == promised[job], "reserved is not what is promised");
            require(promised[job] <= found.budget, "promises exceed funds");
        }
    }

    /// Paid is within the cap and within what vouchers and claims said, and is what payees have.
    function _paid_within_cap_and_promises() private view {
        uint256 paid = 0;
        for (uint256 i = 0; i < handler.agreements(); i++) {
            (bytes32 id, Agreement memory agreement) = _agreement(i);
            require(agreement.paid <= agreement.cap, "paid above the cap");
            require(agreement.paid <= handler.owed(id), "paid more than the greatest figure");
            require(agreement.paid >= handler.lastPaid(id), "paid fell");
            paid += agreement.paid;
        }
        uint256 got = token.balanceOf(handler.payeeOf(0)) + token.balanceOf(handler.payeeOf(1));
        require(got == paid + handler.bondsWon(), "payees have another amount than was paid");
    }

    /// A claim settles once.
    function _claim_settles_once() private view {
        for (uint256 i = 0; i < handler.agreements(); i++) {
            require(handler.settled(handler.ids(i)) <= 1, "settled twice");
        }
    }

    /// Offers are not over-used.
    function _offers_within_capacity() private view {
        for (uint256 i = 0; i < 2; i++) {
            (uint128 used, uint120 limit,) = market.offers(handler.operatorAddress(i), 1);
            require(used <= limit, "over-used");
        }
    }

    /// The vault holds all stakes; what is bound is what stands behind agreements.
    function _vault_covers_stakes() private view {
        uint256 sum = 0;
        for (uint256 i = 0; i < 2; i++) {
            (uint128 free, uint128 bound) = vault.accounts(handler.operatorAddress(i));
            sum += uint256(free) + bound;
            require(bound == _backed(handler.operatorAddress(i)), "bound is not what is behind agreements");
        }
        require(token.balanceOf(address(vault)) >= sum, "stakes are not covered");
    }

    function _backed(address operator) private view returns (uint256 sum) {
        for (uint256 i = 0; i < handler.agreements(); i++) {
            sum += vault.slashable(operator, handler.ids(i));
        }
    }

    /// What was taken was behind the agreement; the client got at most what it paid, and a tenth was burned.
    function _slash_within_slashable() private view {
        uint256 taken = 0;
        for (uint256 i = 0; i < handler.agreements(); i++) {
            (bytes32 id, Agreement memory agreement) = _agreement(i);
            require(handler.taken(id) <= handler.locked(id), "taken more than was locked");
            require(handler.compensated(id) <= agreement.paid, "the client gained");
            taken += handler.taken(id);
        }
        require(token.balanceOf(BURN) * 10 + 10 * handler.agreements() >= taken, "too little was burned");
    }

    /// An open agreement that was not slashed has stake behind all it may still earn.
    function _stake_covers_what_may_be_earned() private view {
        for (uint256 i = 0; i < handler.agreements(); i++) {
            (bytes32 id, Agreement memory agreement) = _agreement(i);
            (uint128 amount,,, bool slashed) = vault.backings(agreement.operator, id);
            bool open = agreement.state == State.Open || agreement.state == State.Claimed;
            require(!open || slashed || amount >= agreement.cap - agreement.paid, "not covered");
        }
    }

    /// When all is over, everything has left by itself: refunds and payouts are the deposits.
    function afterInvariant() external {
        handler.exit();
        require(token.balanceOf(address(market)) == 0, "money is stuck in the escrow");
        uint256 refunds = token.balanceOf(handler.refundTo(1)) + token.balanceOf(handler.refundTo(2));
        uint256 paid = 0;
        uint256 compensated = 0;
        for (uint256 i = 0; i < handler.agreements(); i++) {
            (bytes32 id, Agreement memory agreement) = _agreement(i);
            paid += agreement.paid;
            compensated += handler.compensated(id);
            require(agreement.state == State.Closed, "an agreement has no exit");
        }
        require(refunds - compensated + paid == handler.deposits(), "refunds and payouts are not the deposits");
        for (uint256 i = 0; i < 2; i++) {
            (, uint128 bound) = vault.accounts(handler.operatorAddress(i));
            require(bound == 0, "stake is stuck");
        }
    }
}
