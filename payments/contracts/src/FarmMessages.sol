// SPDX-License-Identifier: GPL-3.0-or-later
pragma solidity 0.8.37;

import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";

/// @notice A node says: under this lease I rendered these pixels (verification/protocol/attestation.py).
struct Attestation {
    string task;
    uint64 token;
    bytes32 pixelRoot;
    bytes32 object;
    string deviceClass;
    string build;
    uint64 renderMilliseconds;
}

/// @notice The farm says: I had this attestation (its digest) at this time (milliseconds).
struct Submission {
    bytes32 attestation;
    uint64 time;
    uint64 round;
    bytes32 commitment;
    uint32 rate;
}

/// @title What nodes and farms sign off the chain, as the contracts read it
/// @dev EIP-712 under the domain {name "Render Farm", version "1", verifyingContract: the farm's signing address}.
library FarmMessages {
    bytes32 private constant DOMAIN =
        keccak256("EIP712Domain(string name,string version,address verifyingContract)");
    bytes32 private constant ATTESTATION = keccak256(
        "Attestation(string task,uint64 token,bytes32 pixelRoot,bytes32 object,string deviceClass,string build,"
        "uint64 renderMilliseconds)"
    );
    bytes32 private constant SUBMISSION = keccak256(
        "Submission(bytes32 attestation,uint64 time,uint64 round,bytes32 commitment,uint32 rate)"
    );

    /// @notice The 32 bytes a node signs.
    function digest(Attestation calldata said, address farm) internal pure returns (bytes32) {
        bytes32 hash = keccak256(
            abi.encode(
                ATTESTATION,
                keccak256(bytes(said.task)),
                said.token,
                said.pixelRoot,
                said.object,
                keccak256(bytes(said.deviceClass)),
                keccak256(bytes(said.build)),
                said.renderMilliseconds
            )
        );
        return MessageHashUtils.toTypedDataHash(_domain(farm), hash);
    }

    /// @notice The 32 bytes a farm signs.
    function digest(Submission calldata said, address farm) internal pure returns (bytes32) {
        bytes32 hash = keccak256(
            abi.encode(SUBMISSION, said.attestation, said.time, said.round, said.commitment, said.rate)
        );
        return MessageHashUtils.toTypedDataHash(_domain(farm), hash);
    }

    /// @notice Whether a task is one of the job: task ids are the job's name, a point, and more.
    /// @param job at most 31 bytes, padded with zeros on the right
    function isOf(string calldata task, bytes32 job) internal pure returns (bool) {
        bytes calldata text = bytes(task);
        uint256 length = 0;
        while (length < 32 && job[length] != 0) length++;
        return text.length > length && text[length] == "." && bytes32(text[:length]) == job;
    }

    function _domain(address farm) private pure returns (bytes32) {
        return keccak256(abi.encode(DOMAIN, keccak256("Render Farm"), keccak256("1"), farm));
    }
}
