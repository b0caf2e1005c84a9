# SPDX-License-Identifier: GPL-3.0-or-later
"""With every tile of the own node audited and a frame of each job rendered whole as well, nobody is rejected
and nothing falls back: what the farm does is what Blender does.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from frame_splitter.records import JobSpec
from render_farm.answers import Job
from render_farm.bundle import bundle
from render_farm.client import FarmClient
from render_farm.doctor import inspect
from render_farm.embedded.state import Folder
from render_farm.embedded.supervisor import Farm, FarmOptions
from tests.reference import make_variants
from verification import replay

pytestmark = [pytest.mark.farm, pytest.mark.timeout(600)]

SCENES = (
    "plain",
    "denoised_float",
    "denoised_adaptive_float",
    "two_layers_cryptomatte_outputs",
    "tiff16",
    "border_kept",
    "motion_blur",
    "volume",
)


@dataclass(frozen=True)
class Audited:
    """A farm that audits all of its own work, and the scenes."""

    client: FarmClient
    scenes: Path
    bundles: Path

    def render(self, name: str) -> Job:
        """A job of two frames in tiles, at its end."""
        with bundle(self.scenes / f"{name}.blend", self.bundles) as bundled:
            facts = inspect(bundled)
            scene = self.client.upload_scene(bundled.manifest, bundled.root)
        job = self.client.submit(JobSpec(scene, (3, 4), tiles="2x2"), facts).job
        for _ in self.client.events(job):
            pass
        return self.client.job(job)


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Audited]:
    folder = tmp_path_factory.mktemp("audited")
    (folder / "scenes").mkdir()
    make_variants(folder / "scenes", *SCENES)
    options = FarmOptions(slots=1, threads=1, rules=(("--audit-own", "1"),), money=False)
    with (
        Farm(Folder(folder / "farm"), options, lambda text: None).running() as farm,
        FarmClient(farm.url, farm.token) as client,
    ):
        farm.wait_for_node()
        yield Audited(client, folder / "scenes", folder / "bundles")


@pytest.mark.parametrize("name", SCENES)
def test_nobody_is_rejected(audited: Audited, name: str) -> None:
    job = audited.render(name)
    assert (job.state, job.exactness) == ("complete", "bit-exact")
    assert job.fallback == "", "the frame that was rendered whole as well is the same"
    assert (job.audits.rejected, job.audits.unresolved) == (0, 0)
    record = audited.client.verification(job.job)
    assert job.audits.audited == job.audits.passed == len(record.submissions) > 0
    assert replay.replay(record) == []
