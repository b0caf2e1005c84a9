# SPDX-License-Identifier: GPL-3.0-or-later
"""Where words go: results to stdout, everything said on the way to stderr."""

import sys
import threading
from collections.abc import Iterable
from typing import Any


class Console:
    """With `as_json`, stdout gets one JSON object at the very end and nothing else."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self._lock = threading.RLock()

    def say(self, sentence: str) -> None:
        """Something to read on the way. One write a line: threads say things at once."""
        with self._lock:
            sys.stderr.write(f"{printable(sentence)}\n")
            sys.stderr.flush()

    @property
    def has_somebody(self) -> bool:
        """Whether a person sits at the terminal who can be asked."""
        return not self.as_json and sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()

    def ask(self, told: Iterable[str], question: str) -> str:
        """The answer to a question, in lower case; nothing else is said meanwhile. An end of input is ""."""
        with self._lock:
            for sentence in told:
                self.say(sentence)
            sys.stderr.write(f"{printable(question)} ")
            sys.stderr.flush()
            return sys.stdin.readline().strip().lower()

    def result(self, record: Any, text: str) -> None:
        """The command's result: `record` as JSON, or `text`."""
        if self.as_json:
            self.print_json(record)
        elif text:
            print(printable(text), flush=True)

    def print_json(self, record: Any) -> None:
        """One JSON object on stdout."""
        import json  # noqa: PLC0415 - takes longer to load than --help to answer

        import msgspec  # noqa: PLC0415

        print(json.dumps(msgspec.to_builtins(record), ensure_ascii=False), flush=True)

    def failed(self, code: str, sentence: str) -> None:
        """Why the command did not do what was asked."""
        if self.as_json:
            self.print_json({"error": code, "message": sentence})
        self.say(f"render-farm: {sentence}")


def printable(text: str) -> str:
    """Text without control characters: names and messages of strangers could steer the terminal."""
    return "".join(letter if letter.isprintable() or letter in "\n\t" else "?" for letter in text)


def log_to_stderr(level: str = "warning") -> None:
    """One structured event a line, on stderr, apart from what is said to people."""
    import structlog  # noqa: PLC0415 - takes longer to load than --help to answer

    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.KeyValueRenderer(key_order=["timestamp", "level", "event"]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        # Looked up at every event: whoever replaces stderr means it.
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
    )
