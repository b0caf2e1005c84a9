# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a part of the farm still answers: the questions, and the patience with a part that does not.

A process that hangs does not end, so whoever waits for its end never hears of it.
"""

import http.client
import json
import select
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

Question = Callable[[float], bool]
"""Given the seconds it may take; whether the part answered."""


def always(_: float) -> bool:
    """Of a part that cannot be asked."""
    return True


@dataclass(frozen=True, slots=True)
class Patience:
    """A part is asked `every` so many seconds, and given up when it has not answered for `silence` seconds
    and `tries` questions in a row. An answer may take `answer` seconds: the machine may be busy.
    """

    every: float = 5.0
    answer: float = 10.0
    silence: float = 30.0
    tries: int = 3


def patience_of(silence: float) -> Patience:
    """The patience with a part that may be silent for `silence` seconds."""
    return Patience(every=min(5.0, silence / 4), answer=min(10.0, silence / 3), silence=silence)


class Watched:
    """What is known of a running part's answers. `silent` asks it."""

    def __init__(self, question: Question, patience: Patience) -> None:
        self._question, self._patience = question, patience
        self._heard = time.monotonic()
        self._failures = 0

    def silent(self) -> float:
        """Ask. Seconds of silence where the part is to be given up, else 0."""
        before = time.monotonic()
        if self._question(self._patience.answer):
            self._heard, self._failures = before, 0
            return 0.0
        self._failures += 1
        seconds = time.monotonic() - self._heard
        given_up = seconds >= self._patience.silence and self._failures >= self._patience.tries
        return seconds if given_up else 0.0


def http_question(url: str) -> Question:
    """Whether a server answers a GET of `url`, with whatever status, and whoever it is."""
    parts = urlsplit(url)
    host = parts.hostname or "127.0.0.1"

    def ask(seconds: float) -> bool:
        link = http.client.HTTPConnection(host, parts.port, timeout=seconds)
        if parts.scheme == "https":
            link = http.client.HTTPSConnection(host, parts.port, timeout=seconds, context=_anybody())
        try:
            link.request("GET", parts.path or "/")
            return link.getresponse().status > 0
        except (OSError, http.client.HTTPException):
            return False
        finally:
            link.close()

    return ask


def _anybody() -> ssl.SSLContext:
    """For a question that tells nothing and whose answer is not read: the name may be another's."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def said_listening(stdout: IO[bytes] | None) -> bool:
    """Whether a server has said on its stdout that it listens."""
    assert stdout is not None
    if not select.select([stdout], [], [], 0)[0]:
        return False
    line = stdout.readline()
    try:
        return bool(line) and "listening" in json.loads(line)
    except json.JSONDecodeError:
        return False


class TouchedFile:
    """The question whether a process has touched its file since the question was asked last."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._before: int | None = None

    def __call__(self, _: float) -> bool:
        """Ask."""
        try:
            changed = self._path.stat().st_mtime_ns
        except OSError:
            # Its first sign of life is still to come, or the file was removed: the next one makes it again.
            changed = None
        before, self._before = self._before, changed
        return changed != before
