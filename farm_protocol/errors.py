# SPDX-License-Identifier: GPL-3.0-or-later
"""The one exception root. A subclass carries a sentence its reader can act on."""


class FarmError(Exception):
    """Something the user or the caller should read. `code` is for programs, the text for people."""

    code = "farm_error"
    status = 500

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


class InvalidInput(FarmError):
    """The request, file or option cannot be used as it is."""

    code = "invalid_input"
    status = 422


class NotFound(FarmError):
    """There is no such thing, or it is not the asker's to see."""

    code = "not_found"
    status = 404


class Forbidden(FarmError):
    """The token is missing, unknown, or not for this."""

    code = "forbidden"
    status = 403


class Unauthorized(FarmError):
    """No token, or one the farm does not know."""

    code = "unauthorized"
    status = 401


class Conflict(FarmError):
    """The thing's state does not allow what was asked."""

    code = "conflict"
    status = 409


class StaleLease(Conflict):
    """The lease ended or passed to somebody else: whatever comes under its token is refused."""

    code = "stale_lease"


class RoundClosed(Conflict):
    """The farm's log is closed for the beacon round that was agreed on: agree on another one."""

    code = "round_closed"


class Unavailable(FarmError):
    """A part the farm stands on does not answer; the same request may work later: in a moment already,
    where it `may_pass`.
    """

    code = "unavailable"
    status = 503
    may_pass = True
