// SPDX-License-Identifier: GPL-3.0-or-later
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {PlainToken} from "./PlainToken.sol";

/// @title What operators risk
/// @notice Stake is free, locked behind an open agreement, or unbonding after it. Free stake is its operator's to
/// withdraw or to be locked; the other two can be slashed for the one agreement they are behind, and for no other.
/// Nobody else can move any of it: there is no owner.
contract StakeVault is ReentrancyGuardTransient {
    using SafeERC20 for IERC20;
    using SafeCast for uint256;

    /// @param free may be withdrawn or locked
    /// @param bound locked or unbonding, behind all agreements together
    struct Account {
        uint128 free;
        uint128 bound;
    }

    /// @param amount what is left behind the agreement
    /// @param releaseAt 0 while the agreement is open (locked); afterwards when it becomes free (unbonding)
    /// @param cases slashes that are proposed and not decided: nothing is released before they are
    /// @param slashed something was taken: nothing more is locked behind it
    struct Backing {
        uint128 amount;
        uint64 releaseAt;
        uint32 cases;
        bool slashed;
    }

    /// @notice Where slashed stake goes that nobody gets.
    address public constant BURN = 0x000000000000000000000000000000000000dEaD;

    IERC20 public immutable token;
    /// @notice Locks and unbonds.
    address public immutable market;
    /// @notice Freezes and slashes.
    address public immutable disputes;
    /// @notice How long stake stays slashable after its agreement (seconds).
    uint64 public immutable unbonding;

    mapping(address operator => Account) public accounts;
    mapping(address operator => mapping(bytes32 agreement => Backing)) public backings;

    /// @notice The operator's free stake grew.
    event Staked(address indexed operator, uint256 amount);
    /// @notice The operator took free stake back.
    event Withdrawn(address indexed operator, uint256 amount);
    /// @notice `amount` more of the operator's stake stands behind the agreement.
    event Locked(address indexed operator, bytes32 indexed agreement, uint256 amount);
    /// @notice The stake behind a closed agreement is free from `releaseAt` on.
    event Unbonding(address indexed operator, bytes32 indexed agreement, uint64 releaseAt);
    /// @notice `amount` stands behind the agreement no more, and is free.
    event Freed(address indexed operator, bytes32 indexed agreement, uint256 amount);
    /// @notice Stake was taken from behind the agreement: for client and reporter, and what was burned.
    event Slashed(
        address indexed operator, bytes32 indexed agreement, uint256 client, uint256 reporter, uint256 burned
    );

    /// @notice Only the market or the disputes contract may do this.
    error NotAllowed(address caller);
    /// @notice The operator has less free stake than that.
    error TooLittleStake(address operator, uint256 free, uint256 asked);
    /// @notice The stake behind this agreement was slashed: no more is locked behind it.
    error AgreementSlashed(bytes32 agreement);
    /// @notice The agreement is open, unbonding for longer, or has a case that is not decided.
    error StillBound(bytes32 agreement, uint64 releaseAt, uint32 cases);
    /// @notice More was to be slashed than stands behind the agreement.
    error OverSlash(uint256 asked, uint256 slashable);

    modifier only(address caller) {
        if (msg.sender != caller) revert NotAllowed(msg.sender);
        _;
    }

    constructor(IERC20 token_, address market_, address disputes_, uint64 unbonding_) {
        token = token_;
        market = market_;
        disputes = disputes_;
        unbonding = unbonding_;
    }

    /// @notice Anybody may add to an operator's free stake.
    function stake(address operator, uint128 amount) external nonReentrant {
        PlainToken.take(token, msg.sender, amount);
        accounts[operator].free += amount;
        emit Staked(operator, amount);
    }

    /// @notice The operator takes free stake back.
    function withdraw(uint128 amount) external nonReentrant {
        Account storage account = accounts[msg.sender];
        if (amount > account.free) revert TooLittleStake(msg.sender, account.free, amount);
        account.free -= amount;
        emit Withdrawn(msg.sender, amount);
        token.safeTransfer(msg.sender, amount);
    }

    /// @notice Lock free stake until at least `required` stands behind the agreement.
    function back(address operator, bytes32 agreement, uint256 required) external only(market) {
        Backing storage backing = backings[operator][agreement];
        (uint128 amount, bool slashed) = (backing.amount, backing.slashed);
        if (slashed) revert AgreementSlashed(agreement);
        if (required <= amount) return;
        Account storage account = accounts[operator];
        (uint128 free_, uint128 bound) = (account.free, account.bound);
        uint256 missing = required - amount;
        if (missing > free_) revert TooLittleStake(operator, free_, missing);
        uint128 more = missing.toUint128();
        (account.free, account.bound) = (free_ - more, bound + more);
        backing.amount = amount + more;
        emit Locked(operator, agreement, more);
    }

    /// @notice The agreement is closed: its stake begins to unbond.
    function unbond(address operator, bytes32 agreement) external only(market) {
        uint64 releaseAt = (block.timestamp + unbonding).toUint64();
        backings[operator][agreement].releaseAt = releaseAt;
        emit Unbonding(operator, agreement, releaseAt);
    }

    /// @notice Anybody may free stake whose unbonding is over.
    function free(address operator, bytes32 agreement) external {
        Backing storage backing = backings[operator][agreement];
        if (!_isFreeable(backing)) revert StillBound(agreement, backing.releaseAt, backing.cases);
        uint128 amount = backing.amount;
        backing.amount = 0;
        accounts[operator].bound -= amount;
        accounts[operator].free += amount;
        emit Freed(operator, agreement, amount);
    }

    /// @notice A slash is proposed: nothing behind the agreement is freed before it is decided.
    function freeze(address operator, bytes32 agreement) external only(disputes) {
        backings[operator][agreement].cases++;
    }

    /// @notice The proposal is decided.
    function thaw(address operator, bytes32 agreement) external only(disputes) {
        backings[operator][agreement].cases--;
    }

    /// @notice Take stake from behind an agreement. What neither `client` nor `reporter` gets is burned.
    function slash(
        address operator,
        bytes32 agreement,
        uint128 amount,
        address client,
        uint128 toClient,
        address reporter,
        uint128 toReporter
    ) external only(disputes) nonReentrant {
        Backing storage backing = backings[operator][agreement];
        if (amount > backing.amount) revert OverSlash(amount, backing.amount);
        backing.amount -= amount;
        backing.slashed = true;
        accounts[operator].bound -= amount;
        uint256 burned = uint256(amount) - toClient - toReporter;
        emit Slashed(operator, agreement, toClient, toReporter, burned);
        if (toClient > 0) token.safeTransfer(client, toClient);
        if (toReporter > 0) token.safeTransfer(reporter, toReporter);
        if (burned > 0) token.safeTransfer(BURN, burned);
    }

    /// @notice What can be slashed for an agreement now.
    function slashable(address operator, bytes32 agreement) external view returns (uint128) {
        return backings[operator][agreement].amount;
    }

    function _isFreeable(Backing storage backing) private view returns (bool) {
        return backing.releaseAt != 0 && backing.releaseAt <= block.timestamp && backing.cases == 0;
    }
}
