// SPDX-License-Identifier: GPL-3.0-or-later
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {Accepted, AcceptedTree, Beside} from "./AcceptedTree.sol";
import {Agreement, Agreements, State} from "./Agreements.sol";
import {Attestation, FarmMessages, Submission} from "./FarmMessages.sol";
import {Job} from "./Jobs.sol";
import {MarketMessages, Voucher} from "./MarketMessages.sol";
import {PlainToken} from "./PlainToken.sol";

/// @notice A task that was submitted and not paid: what the node signed, the farm's receipt, and what it earns.
struct Unpaid {
    Attestation attestation;
    bytes nodeSignature;
    Submission receipt;
    bytes farmSignature;
    uint96 amount;
}

/// @notice What an operator claims beyond its last voucher.
/// @param base cumulative of that voucher
/// @param extra what is claimed beyond it and not struck
/// @param claimed what was claimed at first
/// @param root accepted root of that voucher
/// @param bond what the contester put in
struct Claim {
    uint128 base;
    uint128 extra;
    uint128 claimed;
    uint128 bond;
    bytes32 root;
    uint64 filedAt;
    uint64 contestedAt;
    address contester;
}

/// @notice A task under a claim: it can be claimed once in a job.
struct ClaimedTask {
    uint96 amount;
    bytes20 agreement;
}

/// @title Claims: payment without the coordinator
/// @notice Where no more vouchers come, an operator claims the few tasks it has receipts of submission for. Client
/// or watcher may contest; the job's arbiters decide; without them the receipts stand.
abstract contract Claims is Agreements {
    using SafeERC20 for IERC20;
    using SafeCast for uint256;

    /// @notice Share of what is claimed that a contester puts in: it goes to the operator if the claim stands.
    uint256 public constant BOND_SHARE = 10;

    mapping(bytes32 agreement => Claim) internal _claims;
    mapping(uint64 job => mapping(bytes32 task => ClaimedTask)) public claimedTasks;

    /// @notice The operator claims `extra` for `tasks` tasks beyond the voucher of `base`.
    event ClaimFiled(bytes32 indexed agreement, uint256 base, uint256 extra, uint256 tasks);
    /// @notice A claimed task was paid by the voucher already; `task` is its id's hash.
    event ClaimStruck(bytes32 indexed agreement, bytes32 indexed task, uint256 amount);
    /// @notice Client or watcher deny the claim, and put `bond` in.
    event ClaimContested(bytes32 indexed agreement, address contester, uint256 bond);
    /// @notice `extra` of the claim stood; `cumulative` is paid in all.
    event ClaimSettled(bytes32 indexed agreement, uint256 extra, uint256 cumulative);

    /// @notice An agreement has one claim in its life.
    error ClaimedBefore(bytes32 agreement);
    /// @notice None, or more tasks than the order allows.
    error TaskCount(uint256 most, uint256 asked);
    /// @notice The task is of another job, earns nothing or too much, was claimed before, or its receipt is for
    /// another attestation.
    error BadTask(string task, string reason);
    /// @notice The voucher is not the last one that was paid.
    error NotLast(uint256 paid, uint256 cumulative);
    /// @notice Neither client nor watcher, or the claim was contested already.
    error CannotContest(address caller);
    /// @notice The window for this is over.
    error TooLate(uint64 until);
    /// @notice The proof does not show that this claimed task was paid for.
    error NotShown(bytes32 task);
    /// @notice Only the disputes contract may do this.
    error NotDisputes(address caller);

    function _disputes() internal view virtual returns (address);

    /// @notice The operator claims tasks beyond its last voucher, which is paid first.
    /// @param last the voucher whose cumulative is what was paid; all zeros where nothing was
    function claimUnpaid(bytes32 id, Voucher calldata last, bytes calldata signature, Unpaid[] calldata tasks)
        external
        nonReentrant
    {
        Agreement storage agreement = _open(id);
        if (msg.sender != agreement.operator) revert NotOperator(msg.sender);
        uint64 until = _jobs[agreement.job].deadline + grace;
        if (block.timestamp >= until) revert TooLate(until);
        if (_claims[id].filedAt != 0) revert ClaimedBefore(id);
        if (tasks.length == 0 || tasks.length > agreement.claimTasks) {
            revert TaskCount(agreement.claimTasks, tasks.length);
        }
        _payLast(id, agreement, last, signature);
        uint128 extra = _take(id, agreement, tasks);
        _file(id, agreement, extra, last.acceptedRoot);
        emit ClaimFiled(id, agreement.paid, extra, tasks.length);
    }

    /// @notice Anybody may show that a claimed task was paid by the voucher the claim stands on.
    function showPaid(bytes32 id, Accepted calldata accepted, Beside[] calldata way) external {
        Agreement storage agreement = _claimed(id);
        Claim storage claim = _claims[id];
        ClaimedTask storage task = claimedTasks[agreement.job][accepted.task];
        bool shown = task.agreement == bytes20(id) && task.amount > 0
            && AcceptedTree.holds(claim.root, claim.base, accepted, way);
        if (!shown) revert NotShown(accepted.task);
        uint128 amount = accepted.amount < task.amount ? accepted.amount : task.amount;
        task.amount = 0;
        claim.extra -= amount;
        emit ClaimStruck(id, accepted.task, amount);
    }

    /// @notice Client or watcher contest a claim, with a bond.
    function contest(bytes32 id) external nonReentrant {
        Agreement storage agreement = _claimed(id);
        Claim storage claim = _claims[id];
        Job storage job = _jobs[agreement.job];
        bool may = msg.sender == job.client || msg.sender == job.watcher;
        if (!may || claim.contestedAt != 0) revert CannotContest(msg.sender);
        uint64 until = claim.filedAt + claimWindow;
        if (block.timestamp >= until) revert TooLate(until);
        uint128 bond = ((uint256(claim.extra) + BOND_SHARE - 1) / BOND_SHARE).toUint128();
        claim.contestedAt = uint64(block.timestamp);
        claim.contester = msg.sender;
        claim.bond = bond;
        emit ClaimContested(id, msg.sender, bond);
        PlainToken.take(token, msg.sender, bond);
    }

    /// @notice The arbiters' word on a contested claim, brought by the disputes contract.
    /// @param extra how much of the claim stands
    function decide(bytes32 id, uint128 extra) external nonReentrant {
        if (msg.sender != _disputes()) revert NotDisputes(msg.sender);
        Agreement storage agreement = _claimed(id);
        Claim storage claim = _claims[id];
        if (claim.contestedAt == 0) revert WrongState(id, agreement.state);
        uint64 until = claim.contestedAt + decisionWindow;
        if (block.timestamp >= until) revert TooLate(until);
        if (extra > claim.extra) revert OverCap(claim.extra, extra);
        address winner = extra == claim.claimed ? agreement.payee : claim.contester;
        claim.extra = extra;
        _settle(id, agreement, claim, winner);
    }

    /// @notice Anybody may settle a claim that was not contested in time, or not decided in time: it stands.
    function settleClaim(bytes32 id) external nonReentrant {
        Agreement storage agreement = _claimed(id);
        Claim storage claim = _claims[id];
        bool contested = claim.contestedAt != 0;
        uint64 until = contested ? claim.contestedAt + decisionWindow : claim.filedAt + claimWindow;
        if (block.timestamp < until) revert TooEarly(until);
        _settle(id, agreement, claim, claim.contester);
    }

    /// @notice A claim as it stands.
    function claimOf(bytes32 id) external view returns (Claim memory) {
        return _claims[id];
    }

    /// @dev A voucher that adds nothing may be of any key the job ever had: the figure is on the chain.
    function _payLast(bytes32 id, Agreement storage agreement, Voucher calldata last, bytes calldata signature)
        private
    {
        if (last.cumulative == 0 && agreement.paid == 0) return;
        if (last.agreement != id || last.cumulative < agreement.paid) revert NotLast(agreement.paid, last.cumulative);
        if (last.cumulative > agreement.paid) {
            _redeem(last, signature);
            return;
        }
        address key = ECDSA.recoverCalldata(_hashTypedDataV4(MarketMessages.hash(last)), signature);
        if (sessions[agreement.job][key] == 0) revert NoSession(key);
    }

    function _take(bytes32 id, Agreement storage agreement, Unpaid[] calldata tasks) private returns (uint128 extra) {
        Job storage job = _jobs[agreement.job];
        for (uint256 i = 0; i < tasks.length; i++) {
            Unpaid calldata unpaid = tasks[i];
            _checkTask(agreement, job, unpaid);
            bytes32 task = keccak256(bytes(unpaid.attestation.task));
            ClaimedTask storage claimed = claimedTasks[agreement.job][task];
            if (claimed.agreement != 0) revert BadTask(unpaid.attestation.task, "claimed before");
            claimed.agreement = bytes20(id);
            claimed.amount = unpaid.amount;
            extra += unpaid.amount;
        }
    }

    function _checkTask(Agreement storage agreement, Job storage job, Unpaid calldata unpaid) private view {
        string calldata task = unpaid.attestation.task;
        if (unpaid.amount == 0 || unpaid.amount > agreement.taskCap) revert BadTask(task, "amount");
        if (!FarmMessages.isOf(task, job.name)) revert BadTask(task, "another job");
        bytes32 attested = FarmMessages.digest(unpaid.attestation, job.farm);
        if (unpaid.receipt.attestation != attested) revert BadTask(task, "another receipt");
        address node = ECDSA.recoverCalldata(attested, unpaid.nodeSignature);
        if (node != agreement.node) revert WrongSigner(agreement.node, node);
        bytes32 received = FarmMessages.digest(unpaid.receipt, job.farm);
        address farm = ECDSA.recoverCalldata(received, unpaid.farmSignature);
        if (farm != job.farm) revert WrongSigner(job.farm, farm);
    }

    function _file(bytes32 id, Agreement storage agreement, uint128 extra, bytes32 root) private {
        uint256 cumulative = uint256(agreement.paid) + extra;
        if (cumulative > agreement.cap) revert OverCap(agreement.cap, cumulative);
        Claim storage claim = _claims[id];
        claim.base = agreement.paid;
        claim.extra = extra;
        claim.claimed = extra;
        claim.root = root;
        claim.filedAt = uint64(block.timestamp);
        agreement.state = State.Claimed;
    }

    function _settle(bytes32 id, Agreement storage agreement, Claim storage claim, address winner) private {
        agreement.state = State.Open;
        uint128 bond = claim.bond;
        claim.bond = 0;
        _payUpTo(id, agreement, claim.base + claim.extra, 0);
        emit ClaimSettled(id, claim.extra, agreement.paid);
        if (bond > 0) token.safeTransfer(winner, bond);
    }

    function _claimed(bytes32 id) private view returns (Agreement storage agreement) {
        agreement = _agreements[id];
        if (agreement.state != State.Claimed) revert WrongState(id, agreement.state);
    }
}
