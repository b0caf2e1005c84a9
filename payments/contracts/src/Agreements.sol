// SPDX-License-Identifier: GPL-3.0-or-later
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {Job, Jobs} from "./Jobs.sol";
import {MarketMessages, Offer, Order, Raise, Release, Voucher} from "./MarketMessages.sol";
import {StakeVault} from "./StakeVault.sol";

enum State {
    None,
    Open,
    Claimed,
    Closed
}

/// @notice One node's work for one job.
/// @param cap the most that may be paid; reserved in the job's budget while it is open
/// @param paid never falls, never above `cap`
/// @param offer the operator's number of the offer it was opened with
/// @dev In this order paying reads two words, raising and closing three; the fourth is for claims and disputes.
struct Agreement {
    uint128 cap;
    uint128 paid;
    address payee;
    uint64 job;
    State state;
    address operator;
    uint64 offer;
    uint16 claimTasks;
    address node;
    uint96 taskCap;
}

/// @notice How much of an offer is taken.
/// @param used caps of open agreements and what closed ones were paid
/// @param limit capacity times price of the offer that came under this number
struct OfferUse {
    uint128 used;
    uint120 limit;
    bool cancelled;
}

/// @title Agreements: matching, caps, vouchers, closing
abstract contract Agreements is Jobs {
    using SafeERC20 for IERC20;

    mapping(bytes32 id => Agreement) internal _agreements;
    mapping(address operator => mapping(uint64 number => OfferUse)) public offers;

    /// @notice An order was brought: `cap` of the job's budget is reserved for `operator`.
    event AgreementOpened(
        bytes32 indexed agreement, uint64 indexed job, address indexed operator, address node, uint256 cap
    );
    /// @notice The agreement may earn up to `cap`.
    event CapRaised(bytes32 indexed agreement, uint256 cap);
    /// @notice `acceptedRoot` is that of the voucher; zero where a claim was paid.
    event Paid(bytes32 indexed agreement, uint256 amount, uint256 cumulative, bytes32 acceptedRoot);
    /// @notice Nothing more is paid than `paid`; what was reserved beside it is free.
    event AgreementClosed(bytes32 indexed agreement, uint256 paid);
    /// @notice The operator's offer of this number is taken up no more.
    event OfferCancelled(address indexed operator, uint64 number);

    /// @notice The offer names another farm, costs more than the job pays, locks less than it asks, or is expired.
    error OfferUnfit(string field);
    /// @notice Another offer came under this number, or it was cancelled.
    error OfferGone(address operator, uint64 number);
    /// @notice The offer's capacity is used up.
    error OverOffer(uint256 limit, uint256 asked);
    /// @notice The order takes another offer.
    error OtherOffer(bytes32 expected);
    /// @notice This order was carried out already.
    error AlreadyOpen(bytes32 agreement);
    /// @notice The agreement is not in the state for this.
    error WrongState(bytes32 agreement, State state);
    /// @notice A cap can only grow.
    error NotHigher(uint256 cap);
    /// @notice The figure is above the agreement's cap.
    error OverCap(uint256 cap, uint256 asked);
    /// @notice Only the agreement's operator may do this.
    error NotOperator(address caller);
    /// @notice There is not one signature for each voucher.
    error UnlikeLengths();
    /// @notice Less was paid than the operator wants before it gives up the rest.
    error PaidLess(uint256 paid, uint256 wanted);

    /// @dev Where stake is.
    function _vault() internal view virtual returns (StakeVault);

    /// @notice The match: an operator's offer and a job's order become an agreement. Anybody may bring them.
    /// @return id the order's digest
    function openAgreement(
        Offer calldata offer,
        bytes calldata operatorSignature,
        Order calldata order,
        bytes calldata sessionSignature
    ) external returns (bytes32 id) {
        _requireRunning(order.job);
        bytes32 structHash = MarketMessages.hash(order);
        _requireSession(order.job, structHash, sessionSignature);
        id = _hashTypedDataV4(structHash);
        if (_agreements[id].state != State.None) revert AlreadyOpen(id);
        address operator = _operatorOf(offer, operatorSignature, order.offer);
        _checkFit(_jobs[order.job], offer);
        _useOffer(operator, offer, order.cap);
        _commit(order.job, order.cap);
        _write(id, operator, offer, order);
        emit AgreementOpened(id, order.job, operator, offer.node, order.cap);
        _vault().back(operator, id, _required(order.job, order.cap));
    }

    /// @notice Let an agreement earn more. Anybody may bring what the session key signed.
    function raiseCap(Raise calldata raise, bytes calldata sessionSignature) external {
        Agreement storage agreement = _open(raise.agreement);
        (uint64 job, address operator) = (agreement.job, agreement.operator);
        _requireRunning(job);
        _requireSession(job, MarketMessages.hash(raise), sessionSignature);
        (uint128 cap, uint128 paid) = (agreement.cap, agreement.paid);
        if (raise.cap <= cap) revert NotHigher(cap);
        uint128 more = raise.cap - cap;
        _use(offers[operator][agreement.offer], operator, agreement.offer, more);
        _commit(job, more);
        agreement.cap = raise.cap;
        emit CapRaised(raise.agreement, raise.cap);
        _vault().back(operator, raise.agreement, _required(job, raise.cap - paid));
    }

    /// @notice Pay what a voucher says beyond what was paid. Anybody may bring it; an old one pays nothing.
    function redeem(Voucher calldata voucher, bytes calldata signature) external nonReentrant returns (uint128) {
        return _redeem(voucher, signature);
    }

    /// @notice The same for many, for less gas than one by one.
    function redeemAll(Voucher[] calldata vouchers, bytes[] calldata signatures) external nonReentrant {
        if (vouchers.length != signatures.length) revert UnlikeLengths();
        for (uint256 i = 0; i < vouchers.length; i++) {
            _redeem(vouchers[i], signatures[i]);
        }
    }

    /// @notice The operator gives up what the agreement could still earn; its stake begins to unbond.
    function release(bytes32 id) external {
        Agreement storage agreement = _open(id);
        if (msg.sender != agreement.operator) revert NotOperator(msg.sender);
        _close(id, agreement);
    }

    /// @notice The same, signed by the operator and brought by anybody once it was paid what it wants.
    function releaseFor(Release calldata said, bytes calldata operatorSignature) external {
        Agreement storage agreement = _open(said.agreement);
        _requireSigner(agreement.operator, MarketMessages.hash(said), operatorSignature);
        if (agreement.paid < said.cumulative) revert PaidLess(agreement.paid, said.cumulative);
        _close(said.agreement, agreement);
    }

    /// @notice Anybody may close an agreement once deadline and grace are over and no claim is pending.
    function close(bytes32 id) external {
        Agreement storage agreement = _open(id);
        uint64 until = _jobs[agreement.job].deadline + grace;
        if (block.timestamp < until) revert TooEarly(until);
        _close(id, agreement);
    }

    /// @notice The operator takes an offer back: nothing more is opened or raised under its number.
    function cancelOffer(uint64 number) external {
        offers[msg.sender][number].cancelled = true;
        emit OfferCancelled(msg.sender, number);
    }

    /// @notice An agreement as it stands.
    function agreementOf(bytes32 id) external view returns (Agreement memory) {
        return _agreements[id];
    }

    /// @dev Pays and returns what the voucher adds.
    function _redeem(Voucher calldata voucher, bytes calldata signature) internal returns (uint128 amount) {
        Agreement storage agreement = _agreements[voucher.agreement];
        _requireRecentSession(agreement.job, MarketMessages.hash(voucher), signature);
        amount = _payUpTo(voucher.agreement, agreement, voucher.cumulative, voucher.acceptedRoot);
    }

    /// @dev Pay until `cumulative` is paid in all: the greater of two figures, never their sum.
    function _payUpTo(bytes32 id, Agreement storage agreement, uint128 cumulative, bytes32 root)
        internal
        returns (uint128 amount)
    {
        (uint128 cap, uint128 paid) = (agreement.cap, agreement.paid);
        if (cumulative <= paid) return 0;
        if (agreement.state == State.Closed) revert WrongState(id, State.Closed);
        if (cumulative > cap) revert OverCap(cap, cumulative);
        amount = cumulative - paid;
        agreement.paid = cumulative;
        emit Paid(id, amount, cumulative, root);
        token.safeTransfer(agreement.payee, amount);
    }

    function _open(bytes32 id) internal view returns (Agreement storage agreement) {
        agreement = _agreements[id];
        if (agreement.state != State.Open) revert WrongState(id, agreement.state);
    }

    function _close(bytes32 id, Agreement storage agreement) private {
        (uint128 cap, uint128 paid) = (agreement.cap, agreement.paid);
        (uint64 job, address operator) = (agreement.job, agreement.operator);
        uint128 left = cap - paid;
        _jobs[job].committed -= left;
        offers[operator][agreement.offer].used -= left;
        agreement.state = State.Closed;
        emit AgreementClosed(id, paid);
        _vault().unbond(operator, id);
    }

    function _operatorOf(Offer calldata offer, bytes calldata signature, bytes32 ordered)
        private
        view
        returns (address)
    {
        bytes32 hash = MarketMessages.hash(offer);
        if (hash != ordered) revert OtherOffer(hash);
        return ECDSA.recoverCalldata(_hashTypedDataV4(hash), signature);
    }

    function _checkFit(Job storage job, Offer calldata offer) private view {
        if (offer.farm != job.farm) revert OfferUnfit("farm");
        if (offer.node == address(0)) revert OfferUnfit("node");
        if (offer.payee == address(0) || offer.payee == address(this)) revert OfferUnfit("payee");
        if (offer.price == 0 || offer.price > job.priceCap) revert OfferUnfit("price");
        if (offer.stakeShare < job.stakeShare) revert OfferUnfit("stakeShare");
        if (offer.expiry < block.timestamp) revert OfferUnfit("expiry");
    }

    function _useOffer(address operator, Offer calldata offer, uint128 cap) private {
        OfferUse storage use = offers[operator][offer.number];
        uint256 limit = uint256(offer.price) * offer.capacity;
        if (limit == 0 || limit > type(uint120).max) revert OfferUnfit("capacity");
        if (use.limit == 0) use.limit = uint120(limit);
        if (use.limit != limit) revert OfferGone(operator, offer.number);
        _use(use, operator, offer.number, cap);
    }

    function _use(OfferUse storage use, address operator, uint64 number, uint128 more) private {
        (uint256 used, uint256 limit, bool cancelled) = (use.used, use.limit, use.cancelled);
        if (cancelled) revert OfferGone(operator, number);
        used += more;
        if (used > limit) revert OverOffer(limit, used);
        use.used = uint128(used);
    }

    function _write(bytes32 id, address operator, Offer calldata offer, Order calldata order) private {
        Agreement storage agreement = _agreements[id];
        agreement.cap = order.cap;
        agreement.payee = offer.payee;
        agreement.job = order.job;
        agreement.state = State.Open;
        agreement.claimTasks = order.claimTasks;
        agreement.operator = operator;
        agreement.taskCap = order.taskCap;
        agreement.node = offer.node;
        agreement.offer = offer.number;
    }

    /// @dev The stake that must stand behind what may still be earned.
    function _required(uint64 job, uint128 open) private view returns (uint256) {
        return (uint256(open) * _jobs[job].stakeShare + WHOLE - 1) / WHOLE;
    }
}
