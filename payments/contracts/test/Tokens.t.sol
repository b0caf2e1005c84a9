// SPDX-License-Identifier: GPL-3.0-or-later
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Terms} from "../src/MarketMessages.sol";
import {PlainToken} from "../src/PlainToken.sol";
import {World} from "./World.sol";

/// @notice One in a hundred goes to nobody.
contract FeeToken is ERC20("Fee", "FEE") {
    constructor() {
        _mint(msg.sender, 1e30);
    }

    function _update(address from, address to, uint256 value) internal override {
        if (from == address(0)) return super._update(from, to, value);
        super._update(from, address(1), value / 100);
        super._update(from, to, value - value / 100);
    }
}

/// @notice Says no without reverting.
contract FalseToken is ERC20("False", "NO") {
    function transferFrom(address, address, uint256) public pure override returns (bool) {
        return false;
    }
}

/// @notice Says yes and moves nothing.
contract LyingToken is ERC20("Lie", "LIE") {
    function transferFrom(address, address, uint256) public pure override returns (bool) {
        return true;
    }
}

/// @notice Calls back while it moves, as no plain token does.
contract CallingToken is ERC20("Call", "CALL") {
    address private target;
    bytes private order;
    bool public succeeded;

    constructor() {
        _mint(msg.sender, 1e30);
    }

    function aim(address target_, bytes calldata order_) external {
        (target, order) = (target_, order_);
    }

    function _update(address from, address to, uint256 value) internal override {
        super._update(from, to, value);
        if (target != address(0)) (succeeded,) = target.call(order);
    }
}

/// @notice Tokens that are not plain are refused when money comes in.
contract TokensTest is World {
    function _market(ERC20 other) private {
        build();
        market = deploy(other);
        vault = market.vault();
    }

    function _refused(bytes memory why) private {
        Terms memory terms = someTerms();
        terms.client = address(this);
        bytes memory signature = marketSig(FARM, hashes.terms(terms));
        vm.expectRevert(why);
        market.openJob(terms, signature, DEPOSIT);
        vm.expectRevert(why);
        vault.stake(address(this), DEPOSIT);
    }

    function test_fee_on_transfer() public {
        FeeToken other = new FeeToken();
        _market(other);
        other.approve(address(market), DEPOSIT);
        other.approve(address(vault), DEPOSIT);
        _refused(abi.encodeWithSelector(PlainToken.NotPlain.selector, DEPOSIT, DEPOSIT - DEPOSIT / 100));
    }

    function test_false_return() public {
        FalseToken other = new FalseToken();
        _market(other);
        _refused(abi.encodeWithSelector(SafeERC20.SafeERC20FailedOperation.selector, address(other)));
    }

    function test_lie() public {
        _market(new LyingToken());
        _refused(abi.encodeWithSelector(PlainToken.NotPlain.selector, DEPOSIT, 0));
    }

    function test_deposit_without_allowance() public {
        build();
        bytes memory why = abi.encodeWithSignature(
            "ERC20InsufficientAllowance(address,uint256,uint256)", address(market), 0, DEPOSIT
        );
        Terms memory terms = someTerms();
        terms.client = address(this);
        bytes memory signature = marketSig(FARM, hashes.terms(terms));
        vm.expectRevert(why);
        market.openJob(terms, signature, DEPOSIT);
    }

    function test_call_back_finds_the_door_closed() public {
        CallingToken other = new CallingToken();
        _market(other);
        other.approve(address(market), 2 * DEPOSIT);
        Terms memory terms = someTerms();
        terms.client = address(this);
        bytes memory signature = marketSig(FARM, hashes.terms(terms));
        uint64 job = market.openJob(terms, signature, DEPOSIT);
        vm.warp(terms.deadline + GRACE);
        other.aim(address(market), abi.encodeCall(market.refund, (job)));
        market.refund(job);
        require(!other.succeeded(), "it came in twice");
        same(other.balanceOf(coldWallet), DEPOSIT);
    }
}
