// SPDX-License-Identifier: GPL-3.0-or-later
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {MarketMessages, Terms} from "./MarketMessages.sol";
import {PlainToken} from "./PlainToken.sol";

/// @notice Times in seconds, fixed when the market is made.
/// @param claim how long a claim can be contested, and a revoked session key's vouchers redeemed
/// @param decision how long arbiters have for a contested claim
/// @param grace how long after a job's deadline its agreements stay open for vouchers and claims
/// @param unbonding how long stake stays slashable after its agreement; longer than the three above together
/// @param slash how long after its proposal a slash by arbiters is carried out; at most `unbonding`
struct Windows {
    uint64 claim;
    uint64 decision;
    uint64 grace;
    uint64 unbonding;
    uint64 slash;
}

/// @notice A job's money and who may say what about it.
/// @param budget what was put in and not taken back
/// @param committed caps of open agreements, and what closed ones were paid: never above `budget`
/// @param deadline shrinks when the client ends the job, and never grows
/// @param arbiters keccak256 of the abi encoding of arbiters and threshold
struct Job {
    uint128 budget;
    uint128 committed;
    address client;
    uint96 priceCap;
    address refundTo;
    uint64 deadline;
    uint32 stakeShare;
    address farm;
    address watcher;
    bytes32 name;
    bytes32 arbiters;
}

/// @title Jobs: deposits, session keys, refunds
/// @notice A client's deposit can leave in three ways only: to a payee within a cap that the session key signed,
/// to a payee by a claim, or to the job's `refundTo`.
abstract contract Jobs is EIP712("Render Market", "1"), ReentrancyGuardTransient {
    using SafeERC20 for IERC20;
    using SafeCast for uint256;

    /// @notice The longest a job may run, so that no deadline is beyond anybody's life.
    uint64 public constant LONGEST = 366 days;
    /// @notice The most arbiters a job may name.
    uint256 public constant MOST_ARBITERS = 16;
    /// @notice A share of one, in ten-thousandths.
    uint32 public constant WHOLE = 10_000;

    IERC20 public immutable token;
    uint64 public immutable claimWindow;
    uint64 public immutable decisionWindow;
    uint64 public immutable grace;

    /// @notice How many jobs there are; they are numbered from 1.
    uint64 public jobs;
    mapping(uint64 job => Job) internal _jobs;
    /// @notice Until when what a key signs for a job counts: the end of time while it is not revoked.
    mapping(uint64 job => mapping(address key => uint64)) public sessions;
    /// @notice A job's number by its farm and name; 0 for none.
    mapping(address farm => mapping(bytes32 name => uint64 job)) public numbers;

    /// @notice A job is there: `name` is its id at the farm, `termsHash` what its terms say of the work.
    event JobOpened(
        uint64 indexed job, address indexed client, address indexed farm, bytes32 name, bytes32 termsHash
    );
    /// @notice The job's budget grew.
    event Funded(uint64 indexed job, uint256 amount);
    /// @notice What was not reserved went back.
    event Refunded(uint64 indexed job, uint256 amount);
    /// @notice The key may sign for the job.
    event SessionAppointed(uint64 indexed job, address indexed key);
    /// @notice What the key signs counts until `validUntil`.
    event SessionRevoked(uint64 indexed job, address indexed key, uint64 validUntil);
    /// @notice The client ended the job: its deadline is now.
    event JobEnded(uint64 indexed job, uint64 deadline);

    /// @notice The windows do not fit together, or one of them is zero.
    error BadWindows();
    /// @notice A term is missing or out of bounds.
    error BadTerms(string field);
    /// @notice The signature is not that of who should have signed.
    error WrongSigner(address expected, address signer);
    /// @notice The farm has a job of this name already.
    error NameTaken(uint64 job);
    /// @notice Only the job's client may do this.
    error NotClient(address caller);
    /// @notice There is no such job.
    error NoJob(uint64 job);
    /// @notice The job is over, or was ended.
    error Over(uint64 deadline);
    /// @notice It is too early for anybody but the client.
    error TooEarly(uint64 until);
    /// @notice The job has less that is not reserved.
    error OverBudget(uint256 available, uint256 asked);
    /// @notice The key may not sign that for this job (any more).
    error NoSession(address key);

    modifier onlyClient(uint64 job) {
        if (msg.sender != _jobs[job].client) revert NotClient(msg.sender);
        _;
    }

    constructor(IERC20 token_, Windows memory windows) {
        uint256 all = uint256(windows.claim) + windows.decision + windows.grace;
        bool someZero = windows.claim == 0 || windows.decision == 0 || windows.grace == 0 || windows.slash == 0;
        if (someZero || windows.unbonding <= all || windows.unbonding > LONGEST) revert BadWindows();
        if (windows.slash > windows.unbonding) revert BadWindows();
        token = token_;
        claimWindow = windows.claim;
        decisionWindow = windows.decision;
        grace = windows.grace;
    }

    /// @notice The caller opens a job under terms that the farm signed, with a first deposit.
    function openJob(Terms calldata terms, bytes calldata farmSignature, uint128 deposit)
        external
        nonReentrant
        returns (uint64 job)
    {
        _checkTerms(terms);
        _requireSigner(terms.farm, MarketMessages.hash(terms), farmSignature);
        uint64 taken = numbers[terms.farm][terms.name];
        if (taken != 0) revert NameTaken(taken);
        job = ++jobs;
        numbers[terms.farm][terms.name] = job;
        _store(job, terms);
        _jobs[job].budget = deposit;
        emit JobOpened(job, terms.client, terms.farm, terms.name, terms.termsHash);
        _appoint(job, terms.sessionKey);
        emit Funded(job, deposit);
        PlainToken.take(token, msg.sender, deposit);
    }

    /// @notice Anybody may add to a job's budget until it is over.
    function topUp(uint64 job, uint128 amount) external nonReentrant {
        _requireRunning(job);
        _jobs[job].budget += amount;
        emit Funded(job, amount);
        PlainToken.take(token, msg.sender, amount);
    }

    /// @notice The client takes back what is not reserved, at any time.
    function takeBack(uint64 job, uint128 amount) external onlyClient(job) nonReentrant {
        _refund(job, amount);
    }

    /// @notice Anybody may send what is not reserved back once deadline and grace are over.
    function refund(uint64 job) external nonReentrant {
        _requireJob(job);
        uint64 until = _jobs[job].deadline + grace;
        if (block.timestamp < until) revert TooEarly(until);
        _refund(job, available(job));
    }

    /// @notice The client ends the job: nothing new is opened, and the grace begins now.
    function end(uint64 job) external onlyClient(job) {
        _requireRunning(job);
        _jobs[job].deadline = uint64(block.timestamp);
        emit JobEnded(job, uint64(block.timestamp));
    }

    /// @notice The client names another session key beside those it did not revoke.
    function appoint(uint64 job, address key) external onlyClient(job) {
        if (key == address(0)) revert BadTerms("sessionKey");
        _appoint(job, key);
    }

    /// @notice The client revokes a key. From now on it opens and raises nothing; its vouchers count for one more
    /// claim window, so that nobody loses what was signed before.
    function revoke(uint64 job, address key) external onlyClient(job) {
        if (sessions[job][key] != type(uint64).max) revert NoSession(key);
        uint64 validUntil = (block.timestamp + claimWindow).toUint64();
        sessions[job][key] = validUntil;
        emit SessionRevoked(job, key, validUntil);
    }

    /// @notice A job as it stands.
    function jobOf(uint64 job) external view returns (Job memory) {
        return _jobs[job];
    }

    /// @notice What of the budget is neither reserved nor paid.
    function available(uint64 job) public view returns (uint128) {
        return _jobs[job].budget - _jobs[job].committed;
    }

    function _appoint(uint64 job, address key) private {
        sessions[job][key] = type(uint64).max;
        emit SessionAppointed(job, key);
    }

    function _refund(uint64 job, uint128 amount) private {
        uint128 left = available(job);
        if (amount > left) revert OverBudget(left, amount);
        _jobs[job].budget -= amount;
        emit Refunded(job, amount);
        token.safeTransfer(_jobs[job].refundTo, amount);
    }

    /// @dev Reserve `amount` of the budget.
    function _commit(uint64 job, uint128 amount) internal {
        Job storage found = _jobs[job];
        uint128 committed = found.committed;
        uint128 left = found.budget - committed;
        if (amount > left) revert OverBudget(left, amount);
        found.committed = committed + amount;
    }

    function _requireJob(uint64 job) internal view {
        if (_jobs[job].client == address(0)) revert NoJob(job);
    }

    function _requireRunning(uint64 job) internal view {
        uint64 deadline = _jobs[job].deadline;
        if (block.timestamp < deadline) return;
        _requireJob(job);
        revert Over(deadline);
    }

    /// @dev The key must be appointed and not revoked.
    function _requireSession(uint64 job, bytes32 structHash, bytes calldata signature) internal view {
        address key = ECDSA.recoverCalldata(_hashTypedDataV4(structHash), signature);
        if (sessions[job][key] != type(uint64).max) revert NoSession(key);
    }

    /// @dev The key must be appointed, or revoked less than a claim window ago.
    function _requireRecentSession(uint64 job, bytes32 structHash, bytes calldata signature) internal view {
        address key = ECDSA.recoverCalldata(_hashTypedDataV4(structHash), signature);
        if (sessions[job][key] < block.timestamp) revert NoSession(key);
    }

    function _requireSigner(address expected, bytes32 structHash, bytes calldata signature) internal view {
        address signer = ECDSA.recoverCalldata(_hashTypedDataV4(structHash), signature);
        if (signer != expected) revert WrongSigner(expected, signer);
    }

    function _store(uint64 number, Terms calldata terms) private {
        Job storage job = _jobs[number];
        job.client = terms.client;
        job.priceCap = terms.priceCap;
        job.refundTo = terms.refundTo;
        job.deadline = terms.deadline;
        job.stakeShare = terms.stakeShare;
        job.farm = terms.farm;
        job.watcher = terms.watcher;
        job.name = terms.name;
        job.arbiters = keccak256(abi.encode(terms.arbiters, terms.threshold));
    }

    function _checkTerms(Terms calldata terms) private view {
        if (terms.client != msg.sender) revert NotClient(msg.sender);
        if (terms.refundTo == address(0) || terms.refundTo == address(this)) revert BadTerms("refundTo");
        if (terms.sessionKey == address(0)) revert BadTerms("sessionKey");
        if (terms.stakeShare < WHOLE) revert BadTerms("stakeShare");
        if (terms.deadline <= block.timestamp) revert Over(terms.deadline);
        if (terms.deadline > block.timestamp + LONGEST) revert BadTerms("deadline");
        _checkName(terms.name);
        _checkArbiters(terms.arbiters, terms.threshold);
    }

    /// @dev Letters and digits, then zeros: no name is the beginning of another followed by a point.
    function _checkName(bytes32 name) private pure {
        uint256 length = 0;
        while (length < 32 && _isLetterOrDigit(name[length])) length++;
        if (length == 0 || length == 32 || uint256(name) << (8 * length) != 0) revert BadTerms("name");
    }

    function _isLetterOrDigit(bytes1 c) private pure returns (bool) {
        return (c >= "0" && c <= "9") || (c >= "a" && c <= "z") || (c >= "A" && c <= "Z");
    }

    function _checkArbiters(address[] calldata arbiters, uint8 threshold) private pure {
        if (arbiters.length > MOST_ARBITERS) revert BadTerms("arbiters");
        if (threshold == 0 || threshold > arbiters.length) revert BadTerms("threshold");
        address last = address(0);
        for (uint256 i = 0; i < arbiters.length; i++) {
            if (arbiters[i] <= last) revert BadTerms("arbiters");
            last = arbiters[i];
        }
    }
}
