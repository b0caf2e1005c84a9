# SPDX-License-Identifier: GPL-3.0-or-later
"""A paid job's money, looked at while the job is followed."""

import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

from farm_protocol.errors import FarmError
from farm_protocol.ids import JobId
from render_farm.cli.progress import Display, Status
from render_farm.cli.statement_text import money_line
from render_farm.client import FarmClient

LOOKS_SECONDS = 1.0


class MoneyWatch:
    """Keeps the display's line about money true, and says each notice of the settler once, while the block
    lasts. Money is no event of the job's: it moves when the chain does.
    """

    def __init__(self, client: FarmClient, job: JobId, status: Status, shown: Display) -> None:
        self._client, self._job, self._status, self._shown = client, job, status, shown
        self._over = threading.Event()
        self._notice = ""
        self._thread = threading.Thread(target=self._watch, name="money", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(LOOKS_SECONDS):
            with suppress(FarmError):
                self._look()

    def _look(self) -> None:
        money = self._client.job(self._job).money
        if money is None:
            return
        self._status.money = money_line(money)
        if money.notice and money.notice != self._notice:
            self._shown.line(money.notice)
        self._notice = money.notice
        self._shown.changed()
