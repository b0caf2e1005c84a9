// SPDX-License-Identifier: GPL-3.0-or-later
pragma solidity 0.8.37;

import {Offer, Order, Release, Terms, Voucher} from "../src/MarketMessages.sol";
import {World} from "./World.sol";

/// @notice What each step of a job costs, for `forge snapshot`: each test is one step with its signing.
contract GasTest is World {
    uint64 private job;
    bytes32 private id;
    bytes[] private ten;

    function setUp() public {
        build();
        token.transfer(payee, 1);
        job = openJob();
        id = openAgreement(job);
        for (uint64 i = 1; i <= 10; i++) {
            Offer memory offer = someOffer();
            offer.payee = address(uint160(0xAEE00 + i));
            offer.number = 1 + i;
            Order memory order = someOrder(job, offer);
            order.salt = i;
            order.cap = 10e18;
            bytes32 other = open(offer, OPERATOR, order, SESSION);
            token.transfer(offer.payee, 1);
            Voucher memory said = Voucher(other, 9e18, bytes32(uint256(i)));
            ten.push(abi.encodeCall(market.redeem, (said, marketSig(SESSION, hashes.voucher(said)))));
        }
    }

    function test_open_job() public {
        address other = address(0xC2);
        fund(other, DEPOSIT);
        Terms memory terms = someTerms();
        terms.client = other;
        terms.name = "j2";
        openJob(terms, DEPOSIT);
    }

    function test_open_agreement() public {
        Offer memory offer = someOffer();
        offer.number = 99;
        Order memory order = someOrder(job, offer);
        order.salt = 99;
        order.cap = 10e18;
        open(offer, OPERATOR, order, SESSION);
    }

    function test_raise_cap() public {
        raiseCap(id, CAP + 1e18);
    }

    function test_redeem_first() public {
        redeem(id, 10e18);
    }

    function test_redeem_ten_in_one() public {
        bytes[] memory calls = ten;
        market.multicall(calls);
    }

    function test_release_for() public {
        Release memory said = Release(id, 0);
        bytes memory signature = marketSig(OPERATOR, hashes.release(said));
        market.releaseFor(said, signature);
    }

    function test_refund() public {
        vm.warp(block.timestamp + LIFE + GRACE);
        market.refund(job);
    }
}
