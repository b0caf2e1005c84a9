# SPDX-License-Identifier: GPL-3.0-or-later
"""Structured events on stderr: one line of JSON each, or readable ones on a terminal."""

import logging
import sys

import structlog


def configure_logs() -> None:
    """Send structlog's events to stderr."""
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if sys.stderr.isatty() else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        # Looked up at every event: whoever replaces stderr means it.
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
    )
