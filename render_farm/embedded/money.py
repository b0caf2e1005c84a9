# SPDX-License-Identifier: GPL-3.0-or-later
"""The embedded farm's money: a chain of its own, its settler, and the wallets that both need.

In the state folder's chain/ lie the chain's journal, chain.toml (which contracts), and in wallets/ the
throw-away wallets bank, client and operator with the password they are encrypted with.
"""

import os
import select
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from payments.local_chain import process as embedded_chain
from render_farm.embedded.files import private_folder
from render_farm.embedded.health import TouchedFile
from render_farm.embedded.part import PYTHON, Part, Program
from render_farm.embedded.state import Folder

UNIT_PRICE = "0.01"
"""What the own node of an embedded farm asks for a render unit, in the token."""
FIRST_START_SECONDS = 180.0
"""The settler makes wallets and contracts then."""


@dataclass(frozen=True, slots=True)
class Outside:
    """A chain that is not the embedded one: its URL, the file that names the contracts, and the wallet that
    pays the settler's gas. Without a wallet others bring to the chain what is signed.
    """

    url: str
    network: Path
    wallet: Path | None = None
    password: Path | None = None


@dataclass(frozen=True, slots=True)
class MoneyFolder:
    """Where the embedded farm keeps its money."""

    path: Path

    @property
    def network(self) -> Path:
        """The file that names the contracts; there once the settler has made them."""
        return self.path / "chain.toml"

    @property
    def password(self) -> Path:
        """The file with the password of all wallets here."""
        return self.path / "wallets" / "password"

    def wallet(self, name: str) -> Path:
        """The keystore file of the wallet bank, client or operator."""
        return self.path / "wallets" / f"{name}.json"

    def create(self) -> None:
        """Make the folders, for their owner only."""
        for folder in (self.path, self.path / "wallets"):
            private_folder(folder)


def money_folder(folder: Folder) -> MoneyFolder:
    """The money's folder in a farm's state folder."""
    return MoneyFolder(folder.path / "chain")


def chain_program(folder: Folder) -> Program:
    """The embedded chain."""
    home, port = money_folder(folder), folder.choose_port("chain")
    return Program(
        name="chain",
        command=lambda: embedded_chain.command(home.path, port=port),
        log=folder.log("chain"),
        ready=lambda _: embedded_chain.ready(port),
        answers=lambda seconds: embedded_chain.ready(port, seconds),
        # A long journal takes a while to read.
        start_seconds=FIRST_START_SECONDS,
        looks_every=0.1,
    )


def settler_program(
    folder: Folder, redis_url: str, needs: tuple[Part, ...], outside: Outside | None
) -> Program:
    """The settler, started each time once what it `needs` is there."""
    home = money_folder(folder)
    environment, words = _settlers_chain(folder, outside)
    environment["FARM_SIGNING_KEY"] = folder.secrets().signing_key
    alive = home.path / "settler.alive"
    words += ["--redis-url", redis_url, "--alive", str(alive)]

    def line() -> list[str]:
        for part in needs:
            part.wait()
        return [*PYTHON, "render_farm.settlement", *words]

    return Program(
        name="settler",
        command=line,
        environment=lambda: environment,
        log=folder.log("settler"),
        ready=_said_settling,
        answers=TouchedFile(alive),
        speaks=True,
        start_seconds=FIRST_START_SECONDS,
    )


def _settlers_chain(folder: Folder, outside: Outside | None) -> tuple[dict[str, str], list[str]]:
    """Environment and options; variables of the user's mean the wallet that pays, not the settler's."""
    unset = {"FARM_CHAIN": "", "FARM_WALLET": "", "FARM_WALLET_PASSWORD_FILE": ""}
    if outside is None:
        words = ["--embedded", str(money_folder(folder).path)]
        return {**unset, "FARM_CHAIN_URL": chain_url(folder)}, words
    words = ["--chain", str(outside.network)]
    words += ["--wallet", str(outside.wallet)] if outside.wallet else []
    password = {"FARM_WALLET_PASSWORD_FILE": str(outside.password)} if outside.password else {}
    return {**unset, **password, "FARM_CHAIN_URL": outside.url}, words


def selling_options(folder: Folder) -> tuple[list[str], dict[str, str]]:
    """What the own node is told so that it sells as the embedded operator: options, and environment."""
    home = money_folder(folder)
    wallet, network = str(home.wallet("operator")), str(home.network)
    words = ["--price", UNIT_PRICE, "--wallet", wallet, "--chain", network]
    # It need not look whether its own farm's jobs are paid; the user's own chain is another one.
    return words, {"FARM_WALLET_PASSWORD_FILE": str(home.password), "FARM_CHAIN_URL": ""}


def chain_url(folder: Folder) -> str:
    """Where the embedded chain answers, once its port is chosen."""
    return embedded_chain.url(folder.port("chain"))


def _said_settling(stdout: IO[bytes] | None) -> bool:
    """Whether the settler has said that it settles."""
    assert stdout is not None
    if not select.select([stdout], [], [], 0)[0]:
        return False
    # What is read here is never read again: the line is looked for in all that came.
    return b'"settling"' in os.read(stdout.fileno(), 1 << 16)
