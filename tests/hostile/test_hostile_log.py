# SPDX-License-Identifier: GPL-3.0-or-later
"""A farm that shows different logs to different people, rewrites its log, or leaves out what it signed."""

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from farm_protocol import typed_data
from farm_protocol.documents import LogHead, Submission
from farm_protocol.errors import NotFound
from farm_protocol.fields import decode, encode
from farm_protocol.node_answers import SubmissionReceipt
from gpu_worker.farm.log_watch import LeftOut, LogWatch
from gpu_worker.farm.result_signer import Due
from render_farm.cli.commands.audit import Replayed
from render_farm.cli.compare_heads import HeadsCompared
from render_farm.cli.following import follow
from render_farm.cli.log_watch import LogWatch as ClientWatch
from render_farm.cli.outputs import targets
from render_farm.cli.program import run as command
from render_farm.client.farm_client import FarmClient
from render_farm.embedded import append_only
from tests.fakes.scripted_server import Answer, Asked, scripted
from tests.integration.test_coordinator_rounds import World, run, until_idle
from tests.support.verified_job import FARM, FARM_KEY, honest_farm
from tests.unit.test_cli_following import Coordinator, started
from verification.audit.records import LogConsistency, LogProof, SignedHead
from verification.protocol import attestation, log, merkle
from verification.receipts import heads
from verification.receipts.witness import SplitView, UnsignedHead, Witness

OTHER_KEY = b"\x33" * 32
OTHER = typed_data.address_of(OTHER_KEY)
"""Another farm."""


def signed_by_other() -> SignedHead:
    one = LogHead(1, 1, "ab" * 32)
    return SignedHead(one.round, one.size, one.root, attestation.sign(one, OTHER, OTHER_KEY))


@dataclass
class Log:
    """A farm's log that can be another for each who asks. `head(round)` is of the leaves it has then."""

    leaves: list[bytes] = field(default_factory=list)
    heads: dict[int, SignedHead] = field(default_factory=dict)

    def add(self, *leaves: str) -> "Log":
        self.leaves += [merkle.leaf_hash(leaf.encode()) for leaf in leaves]
        return self

    def head(self, number: int) -> SignedHead:
        one = LogHead(number, len(self.leaves), merkle.root(self.leaves).hex())
        self.heads[number] = SignedHead(one.round, one.size, one.root, attestation.sign(one, FARM, FARM_KEY))
        return self.heads[number]

    def prove(self, first: int, second: int) -> LogConsistency:
        if second > len(self.leaves):
            raise NotFound("The log is not as long.")
        nodes: dict[log.Place, bytes] = {}
        for number, leaf in enumerate(self.leaves):
            nodes |= log.append(number, leaf, nodes)
        return LogConsistency(
            first, second, tuple(one.hex() for one in log.consistency(first, second, nodes))
        )

    def proof(self, leaf: int, size: int) -> LogProof:
        path = tuple(one.hex() for one in merkle.proof(self.leaves[:size], leaf))
        return LogProof(leaf, size, path, merkle.root(self.leaves[:size]).hex())

    # --- as a node asks a coordinator -------------------------------------------------------------------

    def log_head(self, number: int | None = None) -> bytes:
        found = self.heads.get(max(self.heads, default=0) if number is None else number)
        if found is None:
            raise NotFound("There is no such head.")
        return encode(found)

    def log_consistency(self, first: int, second: int) -> bytes:
        return encode(self.prove(first, second))

    def log_proof(self, leaf: int, size: int) -> bytes:
        return encode(self.proof(min(leaf, size - 1), size))


def evidence_in(folder: Path) -> heads.Evidence:
    (path,) = folder.glob("evidence-*.json")
    return decode(path.read_bytes(), heads.Evidence)


# --- who keeps heads --------------------------------------------------------------------------------------


def test_an_honest_log_is_believed_and_kept_over_restarts(tmp_path: Path) -> None:
    farm = Log()
    for number in range(1, 20):
        head = farm.add(f"leaf {number}").head(number)
        Witness(tmp_path, FARM).keep(head, farm.prove)
    again = Witness(tmp_path, FARM)
    assert again.newest == farm.heads[19]
    assert again.kept(3) == farm.heads[3]
    for head in farm.heads.values():
        again.keep(head, farm.prove)


def test_two_heads_of_one_round_are_proof(tmp_path: Path) -> None:
    mine, theirs = Log().add("a", "b").head(7), Log().add("a", "x").head(7)
    Witness(tmp_path, FARM).keep(mine, Log().add("a", "b").prove)
    with pytest.raises(SplitView, match="two heads of round 7"):
        Witness(tmp_path, FARM).keep(theirs, Log().add("a", "x").prove)
    found = evidence_in(tmp_path)
    assert {found.first, found.second} == {mine, theirs}
    assert all(heads.is_signed(head, FARM) for head in (found.first, found.second))
    assert heads.contradiction(found.first, found.second), "it convicts the farm without us"


@pytest.mark.parametrize(
    ("later", "why"),
    [
        (("a",), "shorter"),
        (("a", "x", "c"), "as long"),
        (("a", "x", "c", "d"), "begins with"),
        (("x", "a", "b", "c", "d", "e"), "begins with"),
    ],
)
def test_a_rewritten_log_is_proof(later: tuple[str, ...], why: str, tmp_path: Path) -> None:
    first, second = Log().add("a", "b", "c"), Log().add(*later)
    Witness(tmp_path, FARM).keep(first.head(7), first.prove)
    with pytest.raises(SplitView, match=why):
        Witness(tmp_path, FARM).keep(second.head(9), second.prove)
    assert evidence_in(tmp_path).first == first.heads[7]


def test_a_leaf_put_in_after_the_round_does_not_fit_the_head_that_was_kept(tmp_path: Path) -> None:
    """Farm and node in league: the round is out, and a tile that it does not audit is dated before it."""
    told = Log().add("honest")
    Witness(tmp_path, FARM).keep(told.head(7), told.prove)
    backdated = Log().add("honest", "made up once the round was out")
    with pytest.raises(SplitView):
        Witness(tmp_path, FARM).keep(backdated.head(7), backdated.prove)


def test_a_head_between_two_that_were_kept_must_lie_between(tmp_path: Path) -> None:
    farm = Log()
    early, late = farm.add("a").head(3), farm.add("b", "c").head(9)
    witness = Witness(tmp_path, FARM)
    witness.keep(early, farm.prove)
    witness.keep(late, farm.prove)
    with pytest.raises(SplitView):
        witness.keep(Log().add("a", "x").head(6), farm.prove)


def test_a_farm_that_proves_nothing_is_not_believed(tmp_path: Path) -> None:
    farm = Log()
    witness = Witness(tmp_path, FARM)
    witness.keep(farm.add("a").head(3), farm.prove)
    head = farm.add("b").head(5)

    def refuses(first: int, second: int) -> LogConsistency:
        raise NotFound("No.")

    with pytest.raises(SplitView):
        witness.keep(head, refuses)
    with pytest.raises(SplitView):
        witness.keep(head, lambda first, second: LogConsistency(first, second, ("00" * 32,)))


def test_heads_that_nobody_signed_are_nothing(tmp_path: Path) -> None:
    head = replace(Log().add("a").head(3), size=2)
    with pytest.raises(UnsignedHead):
        Witness(tmp_path, FARM).keep(head, Log().prove)
    assert Witness(tmp_path, FARM).newest is None


def test_a_file_cut_off_by_a_power_cut_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    farm = Log().add("a")
    Witness(tmp_path, FARM).keep(farm.head(3), farm.prove)
    with next(tmp_path.glob("*.jsonl")).open("a") as file:
        file.write('{"round": 4, "si')
    assert Witness(tmp_path, FARM).newest == farm.heads[3]


# --- a node ------------------------------------------------------------------------------------------------


def receipt_for(leaf: int, number: int = 5) -> SubmissionReceipt:
    said = Submission("ab" * 32, 1, number, "00" * 32, 1)
    return SubmissionReceipt(said, attestation.sign(said, FARM, FARM_KEY), leaf)


def with_receipt(farm: Log, receipt: SubmissionReceipt) -> Log:
    farm.leaves.append(merkle.leaf_hash(attestation.digest(receipt.submission, FARM)))
    return farm


def now() -> Due:
    return Due(time.monotonic(), time.monotonic() + 60)


@dataclass
class Watching:
    """A node's watch, and what it ended with."""

    watch: LogWatch
    failed: threading.Event = field(default_factory=threading.Event)
    errors: list[Exception] = field(default_factory=list)


@pytest.fixture
def watching(tmp_path: Path) -> Iterator[Any]:
    made: list[LogWatch] = []

    def watch(farm: Log) -> Watching:
        found = Watching(LogWatch(farm, FARM, tmp_path))

        def fail(error: Exception) -> None:
            found.errors.append(error)
            found.failed.set()

        found.watch.fail = fail
        made.append(found.watch)
        return found

    yield watch
    for one in made:
        one.stop()


class Silent(Log):
    """Shows nothing of what is in its log."""

    def log_proof(self, leaf: int, size: int) -> bytes:
        raise NotFound("There is no such leaf.")


@pytest.mark.parametrize("kind", [Log, Silent])
def test_a_node_stops_where_its_result_is_left_out(kind: type[Log], watching: Any, tmp_path: Path) -> None:
    farm = kind().add("another's")
    node = watching(farm)
    node.watch.start()
    farm.head(5)
    node.watch.expect(receipt_for(0), now())
    assert node.failed.wait(20)
    assert isinstance(node.errors[0], LeftOut)
    (path,) = (tmp_path / "heads").glob("left-out-*.json")
    said = json.loads(path.read_text())
    attestation.require_signer(Submission(**said["submission"]), FARM, said["receipt_signature"], FARM)
    assert heads.is_signed(SignedHead(**said["head"]), FARM)


def test_a_node_is_content_with_a_log_that_has_its_result(watching: Any, tmp_path: Path) -> None:
    receipt = receipt_for(1)
    farm = with_receipt(Log().add("another's"), receipt)
    farm.head(5)
    node = watching(farm)
    node.watch.expect(receipt, now())
    assert node.watch._once() is not None
    assert node.errors == []
    assert Witness(tmp_path / "heads", FARM).newest == farm.heads[5]


def test_a_node_that_is_shown_another_log_after_a_restart_does_not_start(watching: Any) -> None:
    farm = Log().add("a", "b")
    farm.head(5)
    watching(farm).watch.start()
    other = Log().add("a", "x")
    other.head(5)
    with pytest.raises(SplitView):
        watching(other).watch.start()


def test_a_node_that_is_shown_another_log_while_it_works_stops(watching: Any, tmp_path: Path) -> None:
    receipt = receipt_for(0)
    farm = with_receipt(Log(), receipt)
    node = watching(farm)
    farm.head(4)
    node.watch.start()
    farm.leaves.insert(0, b"\x00" * 32)
    farm.head(5)
    node.watch.expect(receipt, now())
    assert node.failed.wait(20)
    assert isinstance(node.errors[0], SplitView)
    assert evidence_in(tmp_path / "heads").second == farm.heads[5]


def test_a_farm_that_is_away_is_no_reason_to_stop(watching: Any) -> None:
    node = watching(Log())
    node.watch.start()
    node.watch.expect(receipt_for(0), now())
    assert node.watch._once() is not None
    assert node.errors == []


def test_an_operator_whose_store_was_cut_is_not_accused_by_its_own_node_and_user(tmp_path: Path) -> None:
    farm = Log().add("a", "b")
    for folder in (tmp_path / "heads", tmp_path / "node" / "heads"):
        Witness(folder, FARM).keep(farm.head(3), farm.prove)
        Witness(folder, OTHER).keep(signed_by_other(), farm.prove)
    (tmp_path / "node" / "heads" / f"{OTHER.lower()}.jsonl").unlink()
    (tmp_path / "valkey").mkdir()
    file = tmp_path / "valkey" / "store.aof"
    file.write_bytes(b"good" + bytes(9))
    append_only._cut(file, 4, tmp_path / "valkey")
    assert file.read_bytes() == b"good"
    for folder in (tmp_path / "heads", tmp_path / "node" / "heads"):
        Witness(folder, FARM).keep(Log().add("a").head(4), Log().add("a").prove)
    assert Witness(tmp_path / "heads", OTHER).newest is not None, "other farms' heads stay"


# --- a client ----------------------------------------------------------------------------------------------


class TwoLogs(Coordinator):
    """A job's stream that tells heads of its log, which `log` proves."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self.log = log
        self.events = [("head", asdict(head)) for head in log.heads.values()]

    def __call__(self, asked: Asked) -> Answer:
        if asked.path.endswith("/health"):
            return Answer(body=b'{"status": "ok", "version": "1", "store": true, "objects": true}')
        if asked.path.endswith("/verification"):
            return Answer(body=encode(honest_farm().verification()))
        if asked.path.endswith("/log/head"):
            return Answer(body=self.log.log_head())
        if asked.path.endswith("/farm"):
            return Answer(body=msgspec.json.encode(honest_farm().verification().farm))
        if "/log/consistency" in asked.path:
            query = dict(part.split("=") for part in asked.path.partition("?")[2].split("&"))
            try:
                return Answer(body=encode(self.log.prove(int(query["from"]), int(query["to"]))))
            except NotFound:
                return Answer(status=404, body=b'{"code": "not_found", "detail": "No."}')
        return super().__call__(asked)


def followed(log: Log, folder: Path) -> None:
    coordinator = TwoLogs(log)
    goals = targets(f"{folder}/out/####", "", (), ".png", ())
    with scripted(coordinator) as server, FarmClient(server.url, "t", patience=3) as client:
        coordinator.url = server.url
        follow(client, started(), goals, print, watch_log=ClientWatch(client, folder / "state").heed)


def test_a_client_keeps_what_it_is_told_and_sees_another_log_later(tmp_path: Path) -> None:
    farm = Log()
    farm.add("a").head(3)
    farm.add("b", "c").head(5)
    followed(farm, tmp_path)
    kept = Witness(tmp_path / "state" / "heads", FARM)
    assert kept.newest == farm.heads[5]
    other = Log().add("a", "x", "c", "d")
    other.head(8)
    with pytest.raises(SplitView) as raised:
        followed(other, tmp_path)
    assert "do not work with this farm" in raised.value.sentence
    assert evidence_in(tmp_path / "state" / "heads").second == other.heads[8]


def test_a_receipt_by_another_log_than_was_told_does_not_hold(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    farm = honest_farm()
    path = tmp_path / "0002.png.receipt.json"
    path.write_bytes(farm.receipt(2))
    verify = ["receipt", "verify", str(path), "--state-dir", str(tmp_path / "state")]
    assert command(verify) == 0
    number = farm.submissions[4].receipt.round
    told = Log().add("before", "another")
    Witness(tmp_path / "state" / "heads", FARM).keep(told.head(number), told.prove)
    assert command(verify) == 1
    assert f"two heads of round {number}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        ("the same", ""),
        ("nothing", ""),
        ("another", "It does not show that its log of round"),
        ("another of a round", "two heads of round"),
    ],
)
def test_a_replay_holds_the_log_against_the_last_head_that_was_seen(
    seen: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    farm = honest_farm()
    first = farm.rounds[0]
    now = Log(list(farm.leaves))
    now.add("of another job", "and one more").head(farm.rounds[-1].round + 5)
    folder = tmp_path / "state" / "heads"
    if seen == "the same":
        then = Log(list(farm.leaves))
        Witness(folder, FARM).keep(then.head(farm.rounds[-1].round + 1), then.prove)
    elif seen == "another":
        then = Log(list(farm.leaves)).add("never heard of")
        Witness(folder, FARM).keep(then.head(farm.rounds[-1].round + 1), then.prove)
    elif seen == "another of a round":
        then = Log().add("never heard of")
        Witness(folder, FARM).keep(then.head(first.round), then.prove)
    token = tmp_path / "token"
    token.touch(0o600)
    token.write_text("t")
    with scripted(TwoLogs(now)) as server:
        own = ["--coordinator", server.url, "--token-file", str(token)]
        own += ["--state-dir", str(tmp_path / "state")]
        code = command(["audit", "replay", "j1", *own, "--json"])
        asked = server.to("/api/v1/log/consistency")
    told = decode(capsys.readouterr().out, Replayed)
    assert [finding for finding in told.findings if said in finding] == list(told.findings)
    assert (code, told.followed, len(told.findings)) == ((1, False, 1) if said else (0, True, 0))
    assert asked or seen == "another of a round"
    if not said:
        assert Witness(folder, FARM).newest == now.heads[max(now.heads)], "it is seen now"


def test_heads_of_several_people_are_compared_by_a_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    farm = Log()
    files = [tmp_path / name for name in ("ann", "bob", "eve")]
    for folder in files[:2]:
        for number in (3, 5):
            head = farm.heads.get(number) or farm.add(f"leaf {number}").head(number)
            Witness(folder, FARM).keep(head, farm.prove)
    other = Log().add("x", "y")
    Witness(files[2], FARM).keep(other.head(5), other.prove)
    mine, bobs, eves = (str(next(folder.glob("*.jsonl"))) for folder in files)
    assert command(["audit", "compare-heads", mine, bobs, "--json"]) == 0
    told = decode(capsys.readouterr().out, HeadsCompared)
    assert (told.heads, told.shared, told.one_log) == (2, 2, True)
    assert command(["audit", "compare-heads", mine, eves]) == 1
    assert "two heads of round 5" in capsys.readouterr().out


def test_a_file_without_heads_cannot_be_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("good morning\n" + "[" * 100_000)
    assert command(["audit", "compare-heads", str(path)]) == 1
    assert "holds no head" in capsys.readouterr().err


# --- the coordinator ---------------------------------------------------------------------------------------


def test_heads_are_there_before_their_rounds_and_follow_from_each_other(valkey_server, tmp_path):
    async def work(world: World) -> None:
        witness = Witness(tmp_path, world.rules.address)
        for _ in range(5):
            receipt = await world.submit(await world.lease())
            number = receipt.submission.round
            world.now = number - 1.9  # closed, and not out
            await until_idle(world.ticker)
            assert await world.rounds.get(number) is None
            head = await world.rounds.head(number)
            assert head == await world.rounds.head()
            before = witness.newest
            proofs = {}
            if before is not None:
                proofs[before.size, head.size] = await world.rounds.consistency(before.size, head.size)
            witness.keep(head, lambda first, second, known=proofs: known[first, second])
            proof = await world.rounds.proof(receipt.leaf, head.size)
            leaf = merkle.leaf_hash(attestation.digest(receipt.submission, world.rules.address))
            path = [bytes.fromhex(step) for step in proof.path]
            assert merkle.verify(leaf, proof.leaf, head.size, path, bytes.fromhex(head.root))
            world.now = number + 0.0
            await until_idle(world.ticker)
            assert (await world.rounds.get(number)).root == head.root, "it is signed once"
        for first, second in ((3, 2), (0, 99), (-1, 1)):
            with pytest.raises(NotFound):
                await world.rounds.consistency(first, second)
        told = [event.data for event in await world.jobs.follow("j", "0", 0) if event.name == "head"]
        assert [one["round"] for one in told][-1] == witness.newest.round
        assert len(told) == 5

    run(valkey_server.url, work, frames=5)


def test_no_submission_enters_the_log_of_a_round_that_is_closed(valkey_server):
    """Not even with an appointment that was made before."""

    async def work(world: World) -> None:
        await world.submit(await world.lease())
        taken = await world.lease()
        world.now += 1.6
        await until_idle(world.ticker)
        head = await world.rounds.head(1004)
        world.now -= 1.6  # a second coordinator, whose clock is behind
        receipt = await world.submit(taken)
        assert receipt.submission.round > 1004
        assert (await world.rounds.head(1004)) == head

    run(valkey_server.url, work)


def test_evidence_is_a_document_that_others_read(tmp_path: Path) -> None:
    mine, theirs = Log().add("a").head(7), Log().add("x").head(7)
    with pytest.raises(SplitView):
        Witness(tmp_path, FARM).accuse(mine, theirs, "There are two heads.", None)
    (path,) = tmp_path.glob("evidence-*")
    found = set(heads.found_in(json.loads(path.read_bytes())))
    assert found == {(FARM, mine), (FARM, theirs)}
