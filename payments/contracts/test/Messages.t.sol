// SPDX-License-Identifier: GPL-3.0-or-later
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {Attestation, Submission} from "../src/FarmMessages.sol";
import {World} from "./World.sol";

/// @notice The contracts recover exactly what verification/protocol/attestation.py signs: both read messages.json.
contract MessagesTest is World {
    string private json;

    function setUp() public {
        build();
        json = vm.readFile("test/messages.json");
    }

    function _bytes32(string memory key) private view returns (bytes32) {
        return vm.parseJsonBytes32(json, key);
    }

    function _agrees(string memory key, bytes32 digest) private view {
        require(digest == _bytes32(string.concat(key, ".digest")), "another digest");
        address signer = ECDSA.recover(digest, vm.parseJsonBytes(json, string.concat(key, ".signature")));
        require(signer == vm.parseJsonAddress(json, string.concat(key, ".signer")), "another signer");
    }

    function test_attestation() public view {
        Attestation memory said;
        said.task = vm.parseJsonString(json, ".attestation.message.task");
        said.token = uint64(vm.parseJsonUint(json, ".attestation.message.token"));
        said.pixelRoot = _bytes32(".attestation.message.pixelRoot");
        said.object = _bytes32(".attestation.message.object");
        said.deviceClass = vm.parseJsonString(json, ".attestation.message.deviceClass");
        said.build = vm.parseJsonString(json, ".attestation.message.build");
        said.renderMilliseconds = uint64(vm.parseJsonUint(json, ".attestation.message.renderMilliseconds"));
        _agrees(".attestation", hashes.attestation(said, vm.parseJsonAddress(json, ".farm")));
    }

    function test_submission() public view {
        Submission memory said;
        said.attestation = _bytes32(".submission.message.attestation");
        said.time = uint64(vm.parseJsonUint(json, ".submission.message.time"));
        said.round = uint64(vm.parseJsonUint(json, ".submission.message.round"));
        said.commitment = _bytes32(".submission.message.commitment");
        said.rate = uint32(vm.parseJsonUint(json, ".submission.message.rate"));
        _agrees(".submission", hashes.submission(said, vm.parseJsonAddress(json, ".farm")));
    }

    function test_task_belongs_to_the_job_it_is_named_after() public view {
        require(hashes.isOf("j1.f1.t0", "j1"), "its own");
        require(!hashes.isOf("j12.f1.t0", "j1"), "a longer name");
        require(!hashes.isOf("j1", "j1") && !hashes.isOf("", "j1"), "no task");
        require(!hashes.isOf("j2.f1.t0", "j1"), "another name");
        require(!hashes.isOf(unicode"j1\u0000.f1", "j1"), "zeros are no part of a name");
    }
}
