# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs that are paid for: the real commands on an embedded farm with chain, settler and a node that sells."""

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from farm_protocol.errors import FarmError
from farm_protocol.records import JobSpec
from frame_splitter.split import pin
from payments import keystore
from payments.chain import WrongChain
from payments.network import load
from render_farm.bundle import bundle
from render_farm.cli.paying import Offered, Paying
from render_farm.cli.purse import Place, Purse, TooPoor, open_purse
from render_farm.client import FarmClient
from render_farm.doctor import inspect
from render_farm.embedded.money import MoneyFolder, money_folder
from render_farm.embedded.state import Folder

MAKER = Path(__file__).parent.parent / "fakes" / "tiny_scene.py"
SECONDS = 180.0
TOKEN = 10**18
FRAMES = ("--frames", "1-2")


def command(*words: str | Path) -> list[str]:
    own = ["--trust-file"] if words[0] in {"doctor", "quote", "render"} else []
    return [sys.executable, "-m", "render_farm", *map(str, words), *own]


@dataclass
class PaidFarm:
    """A farm that is up, and a scene."""

    folder: Path
    scene: Path
    client: FarmClient

    @property
    def home(self) -> MoneyFolder:
        return money_folder(Folder(self.folder))

    @property
    def place(self) -> Place:
        running = Folder(self.folder).announced()
        assert running is not None
        home = self.home
        return Place(running.chain, home.network, home.wallet("client"), home.password, home.path / "purse")

    def purse(self) -> Purse:
        return open_purse(self.place)

    def answer(self, *words: str | Path, cwd: Path, code: int = 0) -> dict[str, Any]:
        """What a command with --json says."""
        line = [*command(*words), "--state-dir", str(self.folder), "--json"]
        done = subprocess.run(line, capture_output=True, text=True, check=False, cwd=cwd, timeout=SECONDS)
        assert done.returncode == code, done.stdout + done.stderr
        found = json.loads(done.stdout)
        assert isinstance(found, dict)
        return found


@pytest.fixture(scope="module")
def paid(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PaidFarm]:
    folder = tmp_path_factory.mktemp("paid")
    scene = folder / "quick.blend"
    subprocess.run(
        [sys.executable, str(MAKER), str(scene), "4"], check=True, capture_output=True, timeout=120
    )
    line = command("up", "--json", "--slots", "1", "--state-dir", folder / "farm")
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            up = json.loads(process.stdout.readline())
            with FarmClient(up["url"], up["token"], patience=30) as client:
                yield PaidFarm(folder / "farm", scene, client)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(SECONDS)


def sums_up(statement: dict[str, Any]) -> bool:
    parts = ("paid", "owed", "refunded", "refundable")
    return statement["deposit"] == sum(statement[name] for name in parts)


@pytest.mark.farm
def test_a_paid_job_from_its_quote_to_the_rest_back(paid: PaidFarm, tmp_path: Path) -> None:
    purse = paid.purse()
    before = purse.balance()
    result = paid.answer("render", paid.scene, *FRAMES, "--budget", "2.5", cwd=tmp_path)
    assert [frame["frame"] for frame in result["frames"]] == [1, 2]
    statement = result["statement"]
    assert statement["settled"]
    assert statement["deposit"] == 25 * TOKEN // 10
    assert statement["paid"] + statement["refunded"] == statement["deposit"]
    assert statement["paid"] == sum(frame["amount"] for frame in statement["frames"]) > 0
    assert before - purse.balance() == statement["paid"]
    (node,) = statement["nodes"]
    assert (node["tiles"], node["paid"]) == (2, statement["paid"])
    assert purse.balance(node["payee"]) >= node["paid"]
    found = paid.answer("job", "statement", "--last", "--check", cwd=tmp_path)
    assert found["differences"] == []
    assert found["statement"] == statement
    kinds = [line["kind"] for line in statement["transactions"]]
    assert kinds == ["opened", "funded", "agreement", "paid", "closed", "refunded"]

    (listed,) = paid.answer("job", "list", cwd=tmp_path)["jobs"]
    assert listed["money"]["refunded"] == statement["refunded"]
    refused = paid.answer("job", "fund", result["job"], "1.5", cwd=tmp_path, code=1)
    assert "needs no more money" in refused["message"]
    shown = subprocess.run(
        command("job", "show", result["job"], "--state-dir", paid.folder),
        capture_output=True,
        text=True,
        check=True,
    )
    assert "RND earned" in shown.stdout


@pytest.mark.farm
def test_a_deposit_that_was_cut_off_is_made_once(paid: PaidFarm, tmp_path: Path) -> None:
    purse = paid.purse()
    before = purse.balance()
    words = ("render", paid.scene, "--frames", "3", "--budget", "1")
    line = command(*words, "--state-dir", paid.folder, "--json")
    # Before anything is sent, and while it is sent.
    for after in ("Job j", "Your wallet"):
        with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            assert any(said.startswith(after) for said in process.stderr)
            process.send_signal(signal.SIGINT)
            process.stderr.read()
            assert process.wait(SECONDS) == 130
    result = paid.answer(*words, cwd=tmp_path)
    statement = result["statement"]
    assert statement["deposit"] == TOKEN
    assert statement["settled"]
    assert [line["kind"] for line in statement["transactions"]].count("funded") == 1
    assert before - purse.balance() == statement["paid"]


@pytest.mark.farm
def test_more_money_and_all_of_it_back(paid: PaidFarm, tmp_path: Path) -> None:
    purse = paid.purse()
    before = purse.balance()
    with bundle(paid.scene, tmp_path) as bundled:
        facts = inspect(bundled)
        spec = JobSpec(paid.client.upload_scene(bundled.manifest, bundled.root), (5,))
    paying = Paying(paid.client, purse, Offered("1", None), print)
    job = paying.submit(spec, facts)
    early = paid.answer("job", "fund", job.job, "0.5", cwd=tmp_path, code=1)
    assert "no deposit" in early["message"]
    paid.client.pause(job.job)
    for _ in range(2):
        paying.deposit(job, pin(spec, facts))
    assert paid.answer("job", "fund", job.job, "0.5", cwd=tmp_path)["amount"] == TOKEN // 2
    assert before - purse.balance() == 3 * TOKEN // 2
    refused = paid.answer("job", "refund", job.job, cwd=tmp_path, code=1)
    assert f"`render-farm job cancel {job.job}` ends it first" in refused["message"]
    paid.client.cancel(job.job)
    back = paid.answer("job", "refund", job.job, cwd=tmp_path)
    assert back["settled"]
    assert (back["deposit"], back["paid"], back["refunded"]) == (3 * TOKEN // 2, 0, 3 * TOKEN // 2)
    assert purse.balance() == before


@pytest.mark.farm
def test_a_budget_below_the_quote_moves_nothing(paid: PaidFarm, tmp_path: Path) -> None:
    purse = paid.purse()
    before, jobs = purse.balance(), len(paid.client.jobs())
    line = ("render", paid.scene, *FRAMES, "--again", "--budget", "0.000001")
    refused = paid.answer(*line, cwd=tmp_path, code=1)
    assert refused["error"] == "below_quote"
    assert "With --budget 0.000" in refused["message"]
    assert purse.balance() == before
    assert len(paid.client.jobs()) == jobs


@pytest.mark.farm
def test_a_wallet_or_a_chain_that_does_not_fit_is_refused(paid: PaidFarm, tmp_path: Path) -> None:
    network, password = load(paid.home.network), keystore.read_password(paid.home.password)
    wallet = tmp_path / "poor.json"
    keystore.save(keystore.new_key(), wallet, password, iterations=1)
    poor = open_purse(replace(paid.place, wallet=wallet, folder=tmp_path))
    with pytest.raises(TooPoor, match="has 0 RND, less than 1\\. Nothing was sent"):
        poor.check_funds(TOKEN)
    for changed, said in (
        (replace(network, chain_id=1), "chain 721337"),
        (replace(network, token=network.vault), "token is"),
        (replace(network, market=network.token), "no render market"),
        (replace(network, decimals=6), "18 decimals"),
    ):
        with pytest.raises(WrongChain, match=said), written(changed, tmp_path) as file:
            open_purse(replace(paid.place, network=file))
    (tmp_path / "password").write_text("another\n")
    with pytest.raises(FarmError, match="does not open with this password"):
        open_purse(replace(paid.place, password=tmp_path / "password"))
    free = paid.answer("job", "statement", "nojob", cwd=tmp_path, code=1)
    assert free["error"] == "not_found"


@contextlib.contextmanager
def written(network: Any, folder: Path) -> Iterator[Path]:
    from payments.network import text

    path = folder / "other.toml"
    path.write_text(text(network))
    yield path
