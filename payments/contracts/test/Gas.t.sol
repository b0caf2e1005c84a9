// SPDX-License-Identifier: GPL-3.0-or-later
pragma solidity 0.8.37;

import {Offer, Order, Raise, Release, Terms, Voucher} from "../src/MarketMessages.sol";
import {World} from "./World.sol";

/// @notice What each call costs inside the chain (a transaction adds its base and its bytes), for gas.py.
contract GasTest is World {
    uint64 private job;
    bytes32 private id;
    Voucher[] private ten;
    bytes[] private signatures;

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
            ten.push(said);
            signatures.push(marketSig(SESSION, hashes.voucher(said)));
        }
    }

    function test_open_job() public {
        Terms memory terms = someTerms();
        terms.name = "j2";
        bytes memory signature = marketSig(FARM, hashes.terms(terms));
        vm.startSnapshotGas("open_job");
        vm.prank(client);
        market.openJob(terms, signature, DEPOSIT);
        vm.stopSnapshotGas();
    }

    function test_open_agreement() public {
        Offer memory offer = someOffer();
        offer.number = 99;
        Order memory order = someOrder(job, offer);
        order.salt = 99;
        order.cap = 10e18;
        (bytes memory one, bytes memory two) =
            (marketSig(OPERATOR, hashes.offer(offer)), marketSig(SESSION, hashes.order(order)));
        vm.startSnapshotGas("open_agreement");
        market.openAgreement(offer, one, order, two);
        vm.stopSnapshotGas();
    }

    function test_raise_cap() public {
        Raise memory said = Raise(id, CAP + 1e18);
        bytes memory signature = marketSig(SESSION, hashes.raise(said));
        vm.startSnapshotGas("raise_cap");
        market.raiseCap(said, signature);
        vm.stopSnapshotGas();
    }

    function test_redeem() public {
        Voucher memory said = Voucher(id, 10e18, bytes32(uint256(1)));
        bytes memory signature = marketSig(SESSION, hashes.voucher(said));
        vm.startSnapshotGas("redeem");
        market.redeem(said, signature);
        vm.stopSnapshotGas();
    }

    function test_redeem_ten_in_one() public {
        (Voucher[] memory vouchers, bytes[] memory signed) = (ten, signatures);
        vm.startSnapshotGas("redeem_ten_in_one");
        market.redeemAll(vouchers, signed);
        vm.stopSnapshotGas();
    }

    function test_release_for() public {
        Release memory said = Release(id, 0);
        bytes memory signature = marketSig(OPERATOR, hashes.release(said));
        vm.startSnapshotGas("release_for");
        market.releaseFor(said, signature);
        vm.stopSnapshotGas();
    }

    function test_refund() public {
        vm.warp(block.timestamp + LIFE + GRACE);
        vm.startSnapshotGas("refund");
        market.refund(job);
        vm.stopSnapshotGas();
    }
}
