# SPDX-License-Identifier: GPL-3.0-or-later
"""`render-farm wallet` and `render-farm chain`, on a real chain."""

import contextlib
import json
import stat
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from frame_splitter.command_line import UsageError
from payments import keystore
from payments.chain import Chain
from payments.keystore import Key, new_key
from payments.market import Market
from payments.network import load, save
from render_farm.cli.access import Access
from render_farm.cli.commands import chain as chain_command
from render_farm.cli.commands import wallet as wallet_command
from render_farm.cli.paid import passwords
from render_farm.cli.paid.purse import Place, place
from render_farm.cli.program import run
from render_farm.settlement.embedded import prepare
from tests.local_chain import ETHER, LocalChain, local_chain
from tests.understood import understood

UNIT = 10**18
PASSWORD = "open sesame"
Asking = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalChain]:
    with local_chain(tmp_path_factory.mktemp("chain")) as running:
        yield running


@pytest.fixture(scope="module")
def state(chain: LocalChain, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state folder of a farm whose chain it is."""
    folder = tmp_path_factory.mktemp("state")
    (folder / "chain").mkdir()
    prepare(folder / "chain", chain.url)
    return folder


@pytest.fixture(autouse=True)
def _surroundings(chain: LocalChain, state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FARM_COORDINATOR", "FARM_CHAIN", "FARM_WALLET", "FARM_WALLET_PASSWORD_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FARM_CHAIN_URL", chain.url)
    monkeypatch.setenv("FARM_STATE_DIR", str(state))
    monkeypatch.chdir(tmp_path)
    Path("pw").write_text(f"{PASSWORD}\n")


@pytest.fixture
def running(chain: LocalChain, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands find the farm running, as far as they ask for its chain."""

    @contextlib.contextmanager
    def found(*_: object, **__: object) -> Iterator[Access]:
        yield Access(None, "http://farm", chain=chain.url)

    monkeypatch.setattr(wallet_command, "open_farm", found)


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Asking:
    """Run a command with --json: its one object."""

    def asked(*words: str, code: int = 0) -> dict[str, Any]:
        assert run([*words, "--json"]) == code
        return json.loads(capsys.readouterr().out)

    return asked


def wallet_file(key: Key, name: str = "me.json") -> str:
    keystore.save(key, Path(name), PASSWORD, iterations=1)
    return name


def deploying(wallet: str, *more: str) -> list[str]:
    words = ["chain", "deploy", "--wallet", wallet, "--password-file", "pw", "-o", "made.toml"]
    return [*words, "--confirmations", "0", *more]


# --- wallet create ------------------------------------------------------------------------------


def test_a_new_wallet_opens_with_its_password_and_is_never_written_over(ask: Asking) -> None:
    made = ask("wallet", "create", "new.json", "--password-file", "pw")
    assert keystore.load(Path("new.json"), PASSWORD).address == made["address"]
    assert stat.S_IMODE(Path("new.json").stat().st_mode) == 0o600
    before = Path("new.json").read_bytes()
    assert "never written over" in ask("wallet", "create", "new.json", code=1)["message"]
    assert Path("new.json").read_bytes() == before


@pytest.mark.parametrize(
    ("typed", "code", "sentence"),
    [(["a", "b"], 1, "differ"), ([""], 1, "empty"), ([], 2, "--password-file")],
)
def test_without_a_password_there_is_no_wallet(
    ask: Asking, monkeypatch: pytest.MonkeyPatch, typed: list[str], code: int, sentence: str
) -> None:
    answers = iter(typed)
    monkeypatch.setattr(passwords, "getpass", lambda *_, **__: next(answers))
    monkeypatch.setattr("sys.stdin.isatty", lambda: bool(typed), raising=False)
    assert sentence in ask("wallet", "create", "new.json", code=code)["message"]
    assert not Path("new.json").exists()


def test_a_password_is_typed_twice(ask: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "getpass", lambda *_, **__: "typed")
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    made = ask("wallet", "create", "new.json")
    assert keystore.load(Path("new.json"), "typed").address == made["address"]


# --- chain deploy and show ----------------------------------------------------------------------


def test_contracts_are_deployed_and_shown(ask: Asking, chain: LocalChain, state: Path) -> None:
    key = chain.rich_key()
    token = load(state / "chain" / "chain.toml").token
    made = ask(*deploying(wallet_file(key), "--token", token, "--grace", "90m"))
    network = load(Path("made.toml"))
    assert made["network"]["market"] == network.market
    assert (network.token, network.windows.grace, network.windows.claim) == (token, 5400, 3 * 86_400)
    assert chain.number("eth_getTransactionCount", key.address, "latest") == 1
    assert ask("chain", "show", "--chain", "made.toml")["wrong"] == ""
    save(replace(network, market=network.vault), Path("other.toml"))
    assert "no render market" in ask("chain", "show", "--chain", "other.toml", code=1)["wrong"]
    assert "made.toml is there already" in ask(*deploying("me.json"), code=1)["message"]
    assert not list(Path().glob(".made.toml*"))


def test_a_deployment_that_was_cut_off_goes_on(
    ask: Asking, chain: LocalChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = chain.rich_key()
    words = deploying(wallet_file(key))
    monkeypatch.setattr(chain_command, "DEPLOYING_SECONDS", 0.1)
    chain.rpc("evm_setAutomine", False)
    try:
        assert "goes on with it" in ask(*words, code=1)["message"]
        chain.rpc("evm_mine")
        assert "goes on with it" in ask(*words, code=1)["message"]
    finally:
        chain.rpc("evm_setAutomine", True)
        chain.rpc("evm_mine")
    network = ask(*words)["network"]
    assert chain.number("eth_getTransactionCount", key.address, "latest") == 2
    there = Market(Chain(chain.url, chain.chain_id), load(Path("made.toml")))
    assert there.token_balance(key.address) == 10**9 * UNIT
    assert network["disputes"] == there.network.disputes


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--token", "0x12"], "is no address"),
        (["--token", "0x" + "77" * 20], "no ERC-20 token"),
        (["--token", "0x5FbDB2315678afecb367f032d93F642f64180AA3"], "has a mistake in it"),
        (["--chain-id", "1"], "is chain 721337"),
        (["--unbonding", "1d"], "do not fit together"),
        (["--claim-window", "0s"], "do not fit together"),
        (["--unbonding", "400d"], "366 days"),
        (["--slash-delay", "15d"], "do not fit together"),
        (["--password-file", "me.json"], "does not open"),
    ],
)
def test_what_cannot_be_deployed_costs_nothing(
    ask: Asking, chain: LocalChain, more: list[str], sentence: str
) -> None:
    key = chain.rich_key()
    assert sentence in ask(*deploying(wallet_file(key)), *more, code=1)["message"]
    assert chain.number("eth_getTransactionCount", key.address, "latest") == 0
    assert not Path("made.toml").exists()


@pytest.mark.parametrize("more", [["--claim-window", "3"], ["--grace", "1w"], ["--confirmations", "-1"]])
def test_times_and_figures_are_read_with_care(ask: Asking, more: list[str]) -> None:
    assert ask(*deploying("me.json"), *more, code=2)["error"] == "usage"


def test_a_wallet_that_cannot_pay_and_a_chain_that_is_away_are_told(
    ask: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = deploying(wallet_file(new_key()))
    assert ask(*words, code=1)["error"] == "no_funds"
    monkeypatch.setenv("FARM_CHAIN_URL", "http://127.0.0.1:1/secret")
    told = ask(*words, code=1)["message"]
    assert "does not answer" in told
    assert "secret" not in told
    monkeypatch.delenv("FARM_CHAIN_URL")
    assert "FARM_CHAIN_URL" in ask(*words, code=2)["message"]


class SignerHandler(BaseHTTPRequestHandler):
    """Signs whatever it is asked to."""

    key: Key

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["params"][0]
        assert asked.pop("from") == self.key.address
        plain = {name: int(value, 16) for name, value in asked.items() if name not in ("to", "data")}
        raw = self.key.sign_transaction({**asked, **plain})
        data = json.dumps({"jsonrpc": "2.0", "id": 1, "result": "0x" + raw.hex()}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        pass


def test_a_signer_deploys_for_a_wallet_that_is_named_by_its_address(
    ask: Asking, chain: LocalChain, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = SignerHandler.key = chain.rich_key()
    token = load(state / "chain" / "chain.toml").token
    words = deploying(key.address.lower(), "--token", token)
    assert "FARM_SIGNER_URL" in ask(*words, code=2)["message"]
    server = HTTPServer(("127.0.0.1", 0), SignerHandler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        monkeypatch.setenv("FARM_SIGNER_URL", f"http://127.0.0.1:{server.server_address[1]}/secret")
        assert ask(*words)["network"]["token"] == token
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert ask("chain", "show", "--chain", "made.toml")["wrong"] == ""
    shown = ask("wallet", "show", "--wallet", key.address.lower(), "--chain", "made.toml")
    assert 0 < shown["coins"] < 10 * ETHER


def test_commands_that_pay_know_the_signer_and_else_want_a_password() -> None:
    known = {"FARM_CHAIN_URL": "http://chain", "FARM_SIGNER_URL": "http://signer"}
    words = ["job", "fund", "j1", "1", "--chain", "c.toml", "--wallet"]

    def placed(wallet: str) -> Place:
        found = understood([*words, wallet], known)
        return place(found["farm"], found["wallet"], Access(None, ""))

    where = placed("0x" + "ab" * 20)
    assert (where.signer, where.password) == ("http://signer", None)
    with pytest.raises(UsageError, match="password"):
        placed("me.json")


# --- wallet show and fund -----------------------------------------------------------------------


def test_a_wallet_is_filled_and_shown(ask: Asking, running: None) -> None:
    key = new_key()
    words = ("--wallet", wallet_file(key))
    assert ask("wallet", "show", *words)["coins"] == 0
    given = ask("wallet", "fund", "2.5", *words)
    assert (given["given"], given["coins_given"]) == (25 * UNIT // 10, 10 * ETHER)
    again = ask("wallet", "fund", "2.5", *words)
    assert again["transaction"] != given["transaction"]
    shown = ask("wallet", "show", *words)
    assert (shown["address"], shown["tokens"]) == (key.address, 5 * UNIT)
    assert 10 * ETHER <= shown["coins"] < 10 * ETHER + 10


def test_the_embedded_farms_client_is_meant_where_no_wallet_is_named(
    ask: Asking, running: None, state: Path
) -> None:
    before = ask("wallet", "show")
    assert before["address"] == keystore.address_in(state / "chain" / "wallets" / "client.json")
    assert ask("wallet", "fund", "1")["wallet"]["tokens"] == before["tokens"] + UNIT


@pytest.mark.parametrize("amount", ["0", "-1", "1e3", "nan", "0x10", "1.0000000000000000001", "9" * 40])
def test_what_is_no_amount_is_not_given(ask: Asking, running: None, amount: str) -> None:
    told = ask("wallet", "fund", amount, "--wallet", wallet_file(new_key()), code=1)
    assert told["error"] == "invalid_input"
    assert ask("wallet", "show", "--wallet", "me.json")["coins"] == 0


def test_the_bank_gives_no_more_than_it_has(ask: Asking, running: None) -> None:
    told = ask("wallet", "fund", "1000000000", "--wallet", wallet_file(new_key()), code=1)
    assert told["error"] == "no_funds"


def test_a_chain_without_a_faucet_gives_nothing(
    ask: Asking, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("payments.chain._FAUCET", "anvil_unknown")
    network = str(state / "chain" / "chain.toml")
    told = ask("wallet", "fund", "1", "--wallet", wallet_file(new_key()), "--chain", network, code=1)
    assert told["error"] == "no_faucet"
    assert ask("wallet", "show", "--wallet", "me.json", "--chain", network)["tokens"] == 0


def test_which_wallet_and_what_is_no_wallet_are_said(ask: Asking, state: Path) -> None:
    network = str(state / "chain" / "chain.toml")
    assert "Which wallet?" in ask("wallet", "show", "--chain", network, code=2)["message"]
    told = ask("wallet", "show", "--wallet", "pw", "--chain", network, code=1)["message"]
    assert "is not a keystore file" in told
    Path("bare.json").write_text('{"version": 3, "address": "0x12"}')
    told = ask("wallet", "show", "--wallet", "bare.json", "--chain", network, code=1)["message"]
    assert "does not say whose it is" in told
