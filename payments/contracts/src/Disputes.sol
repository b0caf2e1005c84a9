// SPDX-License-Identifier: GPL-3.0-or-later
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {Agreement} from "./Agreements.sol";
import {Attestation, FarmMessages} from "./FarmMessages.sol";
import {Job} from "./Jobs.sol";
import {RenderMarket} from "./RenderMarket.sol";

/// @notice The arbiters say: take this much of the stake behind an agreement.
/// @param price of the frames that were rejected; the most that goes to the client
/// @param reason hash of the verdicts it stands on
struct Slash {
    bytes32 agreement;
    uint128 amount;
    uint128 price;
    bytes32 reason;
}

/// @notice The arbiters say: this much of a contested claim stands.
struct Ruling {
    bytes32 agreement;
    uint128 extra;
}

/// @notice The arbiters take a slash back before it is carried out.
struct Withdrawal {
    bytes32 slash;
}

/// @notice Who decides for a job, as it was opened with, and what they signed, in the order of the arbiters.
struct Bench {
    address[] arbiters;
    uint8 threshold;
    bytes[] signatures;
}

enum Stage {
    None,
    Proposed,
    Done,
    Withdrawn
}

/// @notice A slash by arbiters on its way.
struct Case {
    bytes32 agreement;
    uint128 amount;
    uint128 price;
    uint64 executeAt;
    Stage stage;
}

/// @title Disputes: what costs an operator its stake, and what arbiters decide
/// @notice A slash takes at most what is behind the one agreement. The client gets at most what it paid under it,
/// and at most the price of the rejected frames; a reporter gets a tenth; at least a tenth is burned.
contract Disputes is EIP712("Render Disputes", "1") {
    using SafeCast for uint256;

    bytes32 private constant SLASH =
        keccak256("Slash(bytes32 agreement,uint128 amount,uint128 price,bytes32 reason)");
    bytes32 private constant RULING = keccak256("Ruling(bytes32 agreement,uint128 extra)");
    bytes32 private constant WITHDRAWAL = keccak256("Withdrawal(bytes32 slash)");

    /// @notice A reporter's share of a slash, and the least that is burned: one in ten.
    uint128 public constant TENTH = 10;

    RenderMarket public immutable market;
    /// @notice How long after its proposal a slash is carried out (seconds).
    uint64 public immutable delay;

    mapping(bytes32 slash => Case) public cases;
    /// @notice What clients got back of what they had paid.
    mapping(bytes32 agreement => uint128) public compensated;
    /// @notice Lease tokens that were slashed for: node, task and token.
    mapping(bytes32 lease => bool) public reported;

    /// @notice The node signed two pictures of `task` under one lease, whose token is `token`.
    event Equivocation(bytes32 indexed agreement, address indexed node, string task, uint64 token, address reporter);
    /// @notice The arbiters want `amount` to be taken; it may be from `executeAt` on.
    event SlashProposed(bytes32 indexed slash, bytes32 indexed agreement, uint256 amount, uint64 executeAt);
    /// @notice The arbiters took the slash back.
    event SlashWithdrawn(bytes32 indexed slash);
    /// @notice The slash was carried out.
    event SlashExecuted(bytes32 indexed slash, bytes32 indexed agreement, uint256 amount);
    /// @notice The arbiters let `extra` of the claim stand.
    event ClaimRuled(bytes32 indexed agreement, uint256 extra);

    /// @notice The two attestations are not of one node under one lease of this job with different pixels.
    error NoEquivocation(string reason);
    /// @notice These are not the job's arbiters, or too few of them signed.
    error NotTheBench();
    /// @notice Nothing stands behind the agreement (any more).
    error NothingToSlash(bytes32 agreement);
    /// @notice The case is not in the stage for this.
    error WrongStage(bytes32 slash, Stage stage);
    /// @notice The delay is not over.
    error TooEarly(uint64 until);

    constructor(RenderMarket market_, uint64 delay_) {
        market = market_;
        delay = delay_;
    }

    /// @notice Anybody may show that an agreement's node signed two different pictures under one lease. All that is
    /// behind the agreement is slashed at once.
    function reportEquivocation(
        bytes32 id,
        Attestation calldata one,
        bytes calldata oneSignature,
        Attestation calldata other,
        bytes calldata otherSignature
    ) external {
        Agreement memory agreement = market.agreementOf(id);
        Job memory job = market.jobOf(agreement.job);
        _checkSame(one, other, job.name);
        _checkNode(agreement.node, FarmMessages.digest(one, job.farm), oneSignature);
        _checkNode(agreement.node, FarmMessages.digest(other, job.farm), otherSignature);
        bytes32 lease = keccak256(abi.encode(agreement.job, agreement.node, one.task, one.token));
        if (reported[lease]) revert NoEquivocation("reported before");
        reported[lease] = true;
        emit Equivocation(id, agreement.node, one.task, one.token, msg.sender);
        _slash(id, agreement, job, type(uint128).max, agreement.taskCap, msg.sender);
    }

    /// @notice Bring a slash that the job's arbiters signed; it is carried out after the delay.
    /// @return id of the case: the digest that was signed
    function proposeSlash(Slash calldata said, Bench calldata bench) external returns (bytes32 id) {
        Agreement memory agreement = market.agreementOf(said.agreement);
        id = _hashTypedDataV4(
            keccak256(abi.encode(SLASH, said.agreement, said.amount, said.price, said.reason))
        );
        _checkBench(agreement.job, bench, id);
        Case storage found = cases[id];
        if (found.stage != Stage.None) revert WrongStage(id, found.stage);
        if (market.vault().slashable(agreement.operator, said.agreement) == 0) revert NothingToSlash(said.agreement);
        uint64 executeAt = (block.timestamp + delay).toUint64();
        cases[id] = Case(said.agreement, said.amount, said.price, executeAt, Stage.Proposed);
        emit SlashProposed(id, said.agreement, said.amount, executeAt);
        market.vault().freeze(agreement.operator, said.agreement);
    }

    /// @notice Bring the arbiters' word that a proposed slash was a mistake.
    function withdrawSlash(bytes32 id, Bench calldata bench) external {
        Case storage found = _proposed(id);
        Agreement memory agreement = market.agreementOf(found.agreement);
        _checkBench(agreement.job, bench, _hashTypedDataV4(keccak256(abi.encode(WITHDRAWAL, id))));
        found.stage = Stage.Withdrawn;
        emit SlashWithdrawn(id);
        market.vault().thaw(agreement.operator, found.agreement);
    }

    /// @notice Anybody may carry out a slash after its delay.
    function executeSlash(bytes32 id) external {
        Case storage found = _proposed(id);
        if (block.timestamp < found.executeAt) revert TooEarly(found.executeAt);
        found.stage = Stage.Done;
        Agreement memory agreement = market.agreementOf(found.agreement);
        Job memory job = market.jobOf(agreement.job);
        market.vault().thaw(agreement.operator, found.agreement);
        uint128 taken = _slash(found.agreement, agreement, job, found.amount, found.price, address(0));
        emit SlashExecuted(id, found.agreement, taken);
    }

    /// @notice Bring the arbiters' word on a contested claim.
    function ruleClaim(Ruling calldata said, Bench calldata bench) external {
        uint64 job = market.agreementOf(said.agreement).job;
        bytes32 digest = _hashTypedDataV4(keccak256(abi.encode(RULING, said.agreement, said.extra)));
        _checkBench(job, bench, digest);
        emit ClaimRuled(said.agreement, said.extra);
        market.decide(said.agreement, said.extra);
    }

    /// @dev Takes at most `most`, or what there is.
    function _slash(
        bytes32 id,
        Agreement memory agreement,
        Job memory job,
        uint128 most,
        uint128 price,
        address reporter
    ) private returns (uint128 amount) {
        uint128 there = market.vault().slashable(agreement.operator, id);
        if (reporter != address(0) && there == 0) revert NothingToSlash(id);
        amount = most < there ? most : there;
        uint128 tenth = amount / TENTH;
        uint128 toReporter = reporter == address(0) ? 0 : tenth;
        uint128 toClient = _least(_least(price, agreement.paid - compensated[id]), amount - 2 * tenth);
        compensated[id] += toClient;
        market.vault().slash(agreement.operator, id, amount, job.refundTo, toClient, reporter, toReporter);
    }

    function _proposed(bytes32 id) private view returns (Case storage found) {
        found = cases[id];
        if (found.stage != Stage.Proposed) revert WrongStage(id, found.stage);
    }

    function _checkSame(Attestation calldata one, Attestation calldata other, bytes32 job) private pure {
        if (!FarmMessages.isOf(one.task, job)) revert NoEquivocation("another job");
        if (keccak256(bytes(one.task)) != keccak256(bytes(other.task))) revert NoEquivocation("two tasks");
        if (one.token != other.token) revert NoEquivocation("two leases");
        if (one.pixelRoot == other.pixelRoot) revert NoEquivocation("the same pixels");
    }

    function _checkNode(address node, bytes32 digest, bytes calldata signature) private pure {
        if (node == address(0) || ECDSA.recoverCalldata(digest, signature) != node) {
            revert NoEquivocation("another node");
        }
    }

    /// @dev Every signature is of a later arbiter than the one before, so nobody counts twice.
    function _checkBench(uint64 job, Bench calldata bench, bytes32 digest) private view {
        bytes32 expected = market.jobOf(job).arbiters;
        if (keccak256(abi.encode(bench.arbiters, bench.threshold)) != expected) revert NotTheBench();
        if (bench.signatures.length < bench.threshold) revert NotTheBench();
        uint256 next = 0;
        for (uint256 i = 0; i < bench.signatures.length; i++) {
            address signer = ECDSA.recoverCalldata(digest, bench.signatures[i]);
            while (next < bench.arbiters.length && bench.arbiters[next] != signer) next++;
            if (next == bench.arbiters.length) revert NotTheBench();
            next++;
        }
    }

    function _least(uint128 a, uint128 b) private pure returns (uint128) {
        return a < b ? a : b;
    }
}
