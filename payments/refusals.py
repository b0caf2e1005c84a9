# SPDX-License-Identifier: GPL-3.0-or-later
"""What the contracts say no with, as sentences."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from farm_protocol.errors import Conflict
from payments.artifacts import read_error
from payments.chain import Reverted

SENTENCES = {
    "AddressEmptyCode": "there is no contract at an address it needs",
    "AgreementSlashed": "stake behind the agreement was slashed",
    "AlreadyOpen": "the agreement is open already",
    "BadTask": "a task cannot be claimed ({task}: {reason})",
    "BadTerms": "the job's terms are not in order ({field})",
    "BadWindows": "the times do not fit together: none may be zero, unbonding must be longer than claim, "
    "decision and grace together, and slash no longer than unbonding",
    "CannotContest": "only client and watcher may contest, once, while the claim is fresh",
    "ClaimedBefore": "the agreement has had its one claim",
    "ECDSAInvalidSignature": "a signature is nobody's",
    "ECDSAInvalidSignatureLength": "a signature is cut off",
    "ECDSAInvalidSignatureS": "a signature is not in its one canonical form",
    "ERC20InsufficientAllowance": "too little of the token was approved",
    "ERC20InsufficientBalance": "the wallet has too little of the token",
    "ERC20InvalidApprover": "the token knows no such wallet",
    "ERC20InvalidReceiver": "the token is sent to no wallet",
    "ERC20InvalidSender": "the token comes from no wallet",
    "ERC20InvalidSpender": "the token is approved for no wallet",
    "FailedCall": "a call inside it failed",
    "InvalidShortString": "a name is too long",
    "NameTaken": "the job was opened before",
    "NoEquivocation": "the two signatures do not contradict each other ({reason})",
    "NoJob": "the market has no such job",
    "NoSession": "the key that signed is not the job's, or not any more",
    "NotAllowed": "only the market may do this",
    "NotClient": "only the job's client may do this",
    "NotDisputes": "only the disputes contract may do this",
    "NotHigher": "the cap is as high already",
    "NotLast": "more was paid than the voucher of the claim says",
    "NotOperator": "only the agreement's operator may do this",
    "NotPlain": "the token is not plain: it keeps a part of what is sent",
    "NotShown": "the voucher's tree does not have this task",
    "NotTheBench": "the job's arbiters did not sign it",
    "NothingToSlash": "no stake stands behind the agreement",
    "OfferGone": "the offer was taken back, or another one has its number",
    "OfferUnfit": "the offer does not fit the job ({field})",
    "OtherOffer": "the order is for another offer",
    "Over": "the job's deadline was at {deadline}",
    "OverBudget": "the job's budget has not so much free",
    "OverCap": "it is more than the agreement's cap",
    "OverOffer": "the offer's capacity is used up",
    "OverSlash": "less stands behind the agreement",
    "PaidLess": "less was paid so far than the release wants",
    "ReentrancyGuardReentrantCall": "the token calls back",
    "SafeCastOverflowedUintDowncast": "a figure is too great",
    "SafeERC20FailedOperation": "the token says that it failed",
    "StillBound": "the stake is still bound, until {releaseAt}",
    "StringTooLong": "a name is too long",
    "TaskCount": "a claim has 1 to {most} tasks, and not {asked}",
    "TooEarly": "it is too early: it can be done from {until} on",
    "TooLate": "it is too late: it could be done until {until}",
    "TooLittleStake": "the operator has too little free stake",
    "UnlikeLengths": "there must be as many signatures as messages",
    "WrongSigner": "it is signed by {signer}, and not by {expected}",
    "WrongStage": "the slash was never proposed, or is over",
    "WrongState": "the agreement is not open, or a claim is pending",
}
"""By the errors' names; what is in braces are the error's own arguments."""
_TIMES = ("until", "deadline", "releaseAt")


class Refused(Conflict):
    """A contract refuses what was to be done. `error` is its own name for why, '' where it has none."""

    code = "refused"

    def __init__(self, what: str, error: str, why: str) -> None:
        super().__init__(f"{what} was refused: {why}.")
        self.error = error


def refusal(what: str, reverted: Reverted) -> Refused:
    """Why a call that would revert is refused; `what` was to be done."""
    name, values = read_error(reverted.data)
    sentence = SENTENCES.get(name)
    if sentence is None:
        return Refused(what, name, name or "the contract gives no reason")
    return Refused(what, name, sentence.format_map(_told(values)))


def _told(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _time(value) if name in _TIMES else value for name, value in values.items()}


def _time(seconds: int) -> str:
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (OverflowError, ValueError, OSError):
        return "the end of time"
