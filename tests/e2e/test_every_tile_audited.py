# SPDX-License-Identifier: GPL-3.0-or-later
"""No honest node is rejected: every scene that is audited in crops, with every tile audited and a frame of
each job rendered whole as well. Nothing falls back: what the farm does is what Blender does.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from farm_protocol.facts import SceneFacts
from farm_protocol.fields import decode
from farm_protocol.records import Exactness, JobSpec, JobState, Manifest
from gpu_worker.blender import BlenderChild, ChildLimits
from render_farm.answers import Job
from render_farm.client import FarmClient
from render_farm.hashing import hash_file
from tests.e2e.conftest import LiveFarm, running
from tests.reference import make_variants
from tests.variants.catalogue import ENTRIES, names
from tests.variants.ways import LINEAR, WHOLE
from verification import replay
from verification.records import JobVerification

pytestmark = [pytest.mark.farm, pytest.mark.timeout(1800)]

SCENES = names(LINEAR, WHOLE)


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveFarm]:
    with running(tmp_path_factory.mktemp("farm"), "--slots", 2, "--audit-own", 1) as farm:
        yield farm


Ended = tuple[Job, JobVerification]


@pytest.fixture(scope="module")
def jobs(audited: LiveFarm, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ended]:
    """One job a scene, all submitted before the first is waited for, as they ended, with their records."""
    folder = tmp_path_factory.mktemp("variants")
    make_variants(folder, *SCENES)
    known = json.loads((audited.state / "farm.json").read_text())
    with FarmClient(known["url"], known["token"]) as client:
        facts = look_at(folder)
        submitted = {name: submit(client, folder, name, facts[name]) for name in SCENES}
        return {name: ended(client, job) for name, job in submitted.items()}


def look_at(folder: Path) -> dict[str, SceneFacts]:
    """The facts of all scenes, told by one Blender."""
    child = BlenderChild(ChildLimits(memory=4 << 30))
    child.start()
    try:
        return {name: decode(child.inspect(folder / f"{name}.blend"), SceneFacts) for name in SCENES}
    finally:
        child.close()


def submit(client: FarmClient, folder: Path, name: str, facts: SceneFacts) -> Job:
    main = f"{name}.blend"
    scene = client.upload_scene(Manifest(main, {main: hash_file(folder / main)}), folder)
    return client.submit(JobSpec(scene, ENTRIES[name].frames[:1], tiles="2x1", name=name), facts)


def ended(client: FarmClient, job: Job) -> Ended:
    for _ in client.events(job.job):
        pass
    return client.job(job.job), client.verification(job.job)


@pytest.mark.parametrize("name", SCENES)
def test_every_tile_is_audited_and_none_is_rejected(jobs: dict[str, Ended], name: str) -> None:
    job, record = jobs[name]
    assert (job.state, job.exactness) == (JobState.COMPLETE, Exactness.BIT_EXACT)
    assert job.fallback == "", "the frame that was rendered whole as well is the same"
    tiles = 2 if ENTRIES[name].way == LINEAR else 1
    counts = job.audits
    assert (counts.audited, counts.passed, counts.rejected, counts.unresolved) == (tiles, tiles, 0, 0)
    assert replay.replay(record) == []
