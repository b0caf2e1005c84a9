// SPDX-License-Identifier: GPL-3.0-or-later
pragma solidity 0.8.37;

/// @notice What a job is opened with, signed by the farm that will run it.
/// @param client who pays; the only one who may end the job, revoke keys and take back early
/// @param refundTo where everything unspent goes, whoever asks for it
/// @param farm the address the farm signs receipts of submission with
/// @param name the job's id at the farm (1 to 31 letters and digits, zeros after): task ids begin with it
/// @param deadline no agreement is opened or raised after it (seconds)
/// @param sessionKey signs orders, raises and vouchers of this job
/// @param priceCap the most a render unit may cost, in the token's smallest unit
/// @param stakeShare stake an operator locks for what its agreement may still earn, in ten-thousandths
/// @param watcher may contest claims beside the client; zero for nobody
/// @param arbiters who decide contested claims and slashes, in ascending order
/// @param threshold how many of them must sign
/// @param termsHash of scene, settings and verification policy
struct Terms {
    address client;
    address refundTo;
    address farm;
    bytes32 name;
    uint64 deadline;
    address sessionKey;
    uint96 priceCap;
    uint32 stakeShare;
    address watcher;
    address[] arbiters;
    uint8 threshold;
    bytes32 termsHash;
}

/// @notice What an operator sells, signed by the operator.
/// @param farm whose jobs it may be used for
/// @param node whose attestations count under it
/// @param payee where the money goes
/// @param price of a render unit, in the token's smallest unit
/// @param capacity render units sold in all
/// @param stakeShare the most stake it locks, in ten-thousandths of what may still be earned
/// @param expiry no agreement is opened with it after that (seconds)
/// @param number the operator's own count: one offer a number
struct Offer {
    address farm;
    address node;
    address payee;
    string deviceClass;
    uint96 price;
    uint64 capacity;
    uint32 stakeShare;
    uint64 expiry;
    uint64 number;
}

/// @notice The job takes an offer, signed by its session key. The order's digest is the agreement's id.
/// @param offer struct hash of the offer
/// @param cap the most the agreement may pay for now
/// @param taskCap the most one task may earn
/// @param claimTasks how many tasks may be claimed without voucher
struct Order {
    uint64 job;
    bytes32 offer;
    uint128 cap;
    uint96 taskCap;
    uint16 claimTasks;
    uint64 salt;
}

/// @notice The cap of an agreement grows to `cap`, signed by the session key.
struct Raise {
    bytes32 agreement;
    uint128 cap;
}

/// @notice All that was earned under an agreement so far, signed by the session key.
/// @param acceptedRoot of the sum tree over what was accepted (`AcceptedTree`); its sum is `cumulative`
struct Voucher {
    bytes32 agreement;
    uint128 cumulative;
    bytes32 acceptedRoot;
}

/// @notice The operator gives up what its agreement could still earn once `cumulative` is paid.
struct Release {
    bytes32 agreement;
    uint128 cumulative;
}

/// @title EIP-712 struct hashes of what is signed for `RenderMarket`
library MarketMessages {
    bytes32 private constant TERMS = keccak256(
        "Terms(address client,address refundTo,address farm,bytes32 name,uint64 deadline,address sessionKey,"
        "uint96 priceCap,uint32 stakeShare,address watcher,address[] arbiters,uint8 threshold,bytes32 termsHash)"
    );
    bytes32 private constant OFFER = keccak256(
        "Offer(address farm,address node,address payee,string deviceClass,uint96 price,uint64 capacity,"
        "uint32 stakeShare,uint64 expiry,uint64 number)"
    );
    bytes32 private constant ORDER = keccak256(
        "Order(uint64 job,bytes32 offer,uint128 cap,uint96 taskCap,uint16 claimTasks,uint64 salt)"
    );
    bytes32 private constant RAISE = keccak256("Raise(bytes32 agreement,uint128 cap)");
    bytes32 private constant VOUCHER =
        keccak256("Voucher(bytes32 agreement,uint128 cumulative,bytes32 acceptedRoot)");
    bytes32 private constant RELEASE = keccak256("Release(bytes32 agreement,uint128 cumulative)");

    function hash(Terms calldata said) internal pure returns (bytes32) {
        bytes memory first = abi.encode(
            TERMS, said.client, said.refundTo, said.farm, said.name, said.deadline, said.sessionKey
        );
        bytes memory rest = abi.encode(
            said.priceCap,
            said.stakeShare,
            said.watcher,
            keccak256(abi.encodePacked(said.arbiters)),
            said.threshold,
            said.termsHash
        );
        return keccak256(bytes.concat(first, rest));
    }

    function hash(Offer calldata said) internal pure returns (bytes32) {
        return keccak256(
            abi.encode(
                OFFER,
                said.farm,
                said.node,
                said.payee,
                keccak256(bytes(said.deviceClass)),
                said.price,
                said.capacity,
                said.stakeShare,
                said.expiry,
                said.number
            )
        );
    }

    function hash(Order calldata said) internal pure returns (bytes32) {
        return keccak256(
            abi.encode(ORDER, said.job, said.offer, said.cap, said.taskCap, said.claimTasks, said.salt)
        );
    }

    function hash(Raise calldata said) internal pure returns (bytes32) {
        return keccak256(abi.encode(RAISE, said.agreement, said.cap));
    }

    function hash(Voucher calldata said) internal pure returns (bytes32) {
        return keccak256(abi.encode(VOUCHER, said.agreement, said.cumulative, said.acceptedRoot));
    }

    function hash(Release calldata said) internal pure returns (bytes32) {
        return keccak256(abi.encode(RELEASE, said.agreement, said.cumulative));
    }
}
