# SPDX-License-Identifier: GPL-3.0-or-later
"""The look at a submitted tile: honest ones, forged ones, hostile files, and audits that lie."""

import struct
import zlib
from dataclasses import replace

import numpy
import OpenEXR
import pytest

from farm_protocol.audits import AuditOrder, CheckOrder, Fault, SampleRange, Sums
from farm_protocol.device_classes import Summation
from farm_protocol.fields import Tile, decode, encode
from frame_splitter import exr
from frame_splitter.exr import Image, Limits, Part
from verification.compare import AuditedFiles, CheckReport, look
from verification.pixel_root import channel_names, pixel_root
from verification.sampling import AuditPolicy, cells, side_of
from verification.verdict import Case, Outcome, judge

TILE = Tile(96, 40, 224, 136)
"""Not at the frame's corner, so that the tile's own pixels and the frame's are not the same."""

SAMPLES = 32
CROPS = (Tile(96, 40, 104, 48), Tile(160, 80, 168, 88), Tile(200, 128, 208, 136))
SPARSE = SampleRange(5, 2)


def light(seed=0):
    """Samples of every pixel: a bright ball before a gradient, noisy as light is. (samples, h, w, 3)."""
    rng = numpy.random.default_rng(seed)
    y, x = numpy.mgrid[: TILE.height, : TILE.width]
    mean = 0.2 + x / 200 + 2.0 * ((x - 60) ** 2 + (y - 50) ** 2 < 900)
    noise = rng.gamma(0.7, 1 / 0.7, (SAMPLES, TILE.height, TILE.width, 1))
    return (mean[None, :, :, None] * noise * (1.0, 0.8, 0.6)).astype("f")


def picture(colours, **more):
    """Combined, with alpha, and a depth pass, rows from the bottom up as tiles count."""
    height, width, _ = colours.shape
    passes = {f"Layer.Combined.{name}": colours[..., n] for n, name in enumerate("RGB")}
    passes["Layer.Combined.A"] = numpy.ones((height, width))
    depth = more.get("depth", numpy.tile(numpy.linspace(3, 9, width), (height, 1)))
    parts = (
        Part("Layer.Combined", {name: top_down(pixels) for name, pixels in passes.items()}, {}),
        Part("Layer.Depth", {"Layer.Depth.Z": top_down(depth)}, {}),
    )
    return Image(width, height, parts)


def in_one_part(image):
    """The same picture as a node's Blender writes it: all passes in one part without a name."""
    channels = {name: pixels for part in image.parts for name, pixels in part.channels.items()}
    return replace(image, parts=(Part("", channels, {}),))


def top_down(pixels):
    return numpy.ascontiguousarray(pixels[::-1]).astype("f")


def inside(rect, tile=TILE):
    return Tile(rect.x0 - tile.x0, rect.y0 - tile.y0, rect.x1 - tile.x0, rect.y1 - tile.y0)


@pytest.fixture(scope="module")
def truth():
    samples = light()
    few = samples[SPARSE.first : SPARSE.first + SPARSE.count]
    return picture(samples.mean(0)), picture(few.mean(0))


@pytest.fixture(params=[in_one_part, lambda image: image], ids=["one part", "a part each"])
def stand(tmp_path, truth, request):
    return Stand(tmp_path, *truth, request.param)


class Stand:
    """One tile that is looked at, and audits that were made of it. `layout`: how files hold passes."""

    def __init__(self, folder, whole, few, layout):
        self.folder, self.whole, self.few, self.layout = folder, whole, few, layout
        self.made = 0

    def write(self, path, image):
        exr.write(path, self.layout(image))

    def order(self, image):
        return CheckOrder(pixel_root([self.layout(image)]), channel_names(self.layout(self.whole)))

    def audit(self, crops=CROPS, whole=None, few=None, **facts):
        """An audit's files; `whole` is what the auditor says the tile looks like."""
        self.made += 1
        folder = self.folder / f"audit-{self.made}"
        folder.mkdir()
        paths = tuple(folder / f"crop-{n}.exr" for n in range(len(crops)))
        for path, area in zip(paths, crops, strict=True):
            self.write(path, exr.crop(whole or self.whole, inside(area)))
        sparse = folder / "sparse.exr"
        self.write(sparse, few or self.few)
        name = f"job.1.1.{self.made}"
        return AuditedFiles(name, AuditOrder(tuple(crops), SPARSE), paths, sparse, **facts)

    def look(self, image, *audits, **more) -> CheckReport:
        """The report on a tile that its node signed as it is."""
        path = self.folder / "tile.exr"
        self.write(path, image)
        return self.look_at(path, self.order(image), *audits, **more)

    def look_at(self, path, order, *audits, **more):
        report = look(path, TILE, SAMPLES, order, audits, **more)
        assert decode(encode(report), CheckReport) == report
        return report


def changed(image, area, value):
    """The picture with one area of its colours overwritten."""
    rows = slice(image.height - area.y1, image.height - area.y0)
    parts = []
    for part in image.parts:
        channels = {name: pixels.copy() for name, pixels in part.channels.items()}
        if part.name == "Layer.Combined":
            for pixels in channels.values():
                pixels[rows, area.x0 : area.x1] = value
        parts.append(replace(part, channels=channels))
    return replace(image, parts=tuple(parts))


def test_an_honest_tile_equals_its_audit(stand):
    report = stand.look(stand.whole, stand.audit())
    assert report.fault is None
    assert [crop.tile for crop in report.crops] == list(CROPS)
    assert not any(crop.different for crop in report.crops)
    assert (report.samples, report.region, report.contradicted, report.flat) == (None, None, (), False)
    assert report.channels == channel_names(stand.layout(stand.whole))


def test_one_bit_in_one_pass_of_one_crop_is_found(stand):
    depth = numpy.tile(numpy.linspace(3, 9, TILE.width), (TILE.height, 1)).astype("f")
    x, y = inside(CROPS[1]).x0 + 3, inside(CROPS[1]).y0 + 2
    depth[y, x] = numpy.nextafter(depth[y, x], numpy.float32(99))
    forged = picture(light().mean(0), depth=depth)
    report = stand.look(forged, stand.audit())
    assert [crop.different for crop in report.crops] == [0, 1, 0]
    assert report.region == Tile(163, 82, 164, 83)
    assert report.crops[1].relative == 0


def test_the_suspects_are_where_the_tile_was_painted_over_and_on_the_grid(stand):
    policy = AuditPolicy()
    painted = Tile(70, 30, 100, 60)
    report = stand.look(changed(stand.whole, painted, 0.0), stand.audit())
    assert len(report.suspects) == policy.suspects
    assert set(report.suspects) <= set(cells(TILE, side_of(TILE, policy)))
    first = inside(report.suspects[0])
    assert painted.x0 - 8 < first.x0 < painted.x1
    assert painted.y0 - 8 < first.y0 < painted.y1
    honest = stand.look(stand.whole, stand.audit())
    assert report.suspicion > 3 * honest.suspicion


def test_suspects_are_not_what_was_rendered_already(stand):
    area = inside(CROPS[1])
    report = stand.look(changed(stand.whole, area, 0.0), stand.audit())
    assert report.crops[1].different == 64
    assert not set(report.suspects) & set(CROPS)


def test_half_of_the_samples_are_counted(stand):
    crops = (Tile(96, 40, 128, 72), Tile(160, 80, 192, 112))
    half = picture(light()[: SAMPLES // 2].mean(0))
    report = stand.look(half, stand.audit(crops))
    assert all(crop.different == 1024 for crop in report.crops)
    assert report.samples == pytest.approx(SAMPLES / 2, rel=0.1)
    assert stand.look(picture(light(seed=9).mean(0)), stand.audit(crops)).samples is None


def test_evidence_is_small_pictures_of_the_crops_that_differ(stand):
    folder = stand.folder / "evidence"
    folder.mkdir()
    stand.look(changed(stand.whole, inside(CROPS[1]), 5.0), stand.audit(), folder=folder)
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["crop-1-difference.png", "crop-1-rendered.png", "crop-1-submitted.png"]
    for path in folder.iterdir():
        pixels = read_png(path)
        assert pixels.shape == (256, 256, 3)
    assert read_png(folder / "crop-1-submitted.png").min() == 255
    assert 0 < read_png(folder / "crop-1-rendered.png").mean() < 255


def read_png(path):
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">2I", data[16:24])
    (size,) = struct.unpack(">I", data[33:37])
    rows = numpy.frombuffer(zlib.decompress(data[41 : 41 + size]), numpy.uint8).reshape(height, -1)
    assert not rows[:, 0].any()
    return rows[:, 1:].reshape(height, width, 3)


def test_no_evidence_without_differences(stand):
    folder = stand.folder / "evidence"
    folder.mkdir()
    stand.look(stand.whole, stand.audit(), folder=folder)
    assert not list(folder.iterdir())


# --- audits that are wrong ------------------------------------------------------------------------


def test_an_own_nodes_repeat_contradicts_a_slander(stand):
    slander = stand.audit(whole=picture(light(seed=3).mean(0)))
    report = stand.look(stand.whole, slander, stand.audit(own=True), stand.audit(own=True))
    assert (report.contradicted, report.doubted) == ((slander.task,), ())
    assert not any(crop.different for crop in report.crops)


def test_an_own_nodes_repeat_contradicts_an_accomplice(stand):
    forged = picture(light(seed=3).mean(0))
    accomplice = stand.audit(whole=forged)
    report = stand.look(forged, accomplice, stand.audit(own=True), stand.audit(own=True))
    assert (report.contradicted, report.doubted) == ((accomplice.task,), ())
    assert all(crop.different for crop in report.crops)


def test_one_own_render_only_doubts_an_audit_which_then_counts_for_nothing(stand):
    """It may be the own node's warm Blender that is to blame."""
    other = stand.audit(whole=picture(light(seed=3).mean(0)))
    report = stand.look(stand.whole, other, stand.audit(own=True))
    assert (report.contradicted, report.doubted) == ((), (other.task,))
    assert not any(crop.different for crop in report.crops)


def test_own_renders_that_are_not_alike_contradict_nobody(stand):
    other = stand.audit(whole=picture(light(seed=3).mean(0)))
    warm = stand.audit(whole=picture(light(seed=4).mean(0)), own=True)
    report = stand.look(stand.whole, other, warm, stand.audit(own=True))
    assert (report.contradicted, report.doubted) == ((), (other.task,))
    confirmed = stand.look(stand.whole, stand.audit(), warm, stand.audit(own=True))
    assert confirmed.contradicted == (), "one of the own renders equals the stranger's"
    assert len(confirmed.doubted) == 1


def test_own_renders_of_other_crops_confirm_nothing(stand):
    other = stand.audit(whole=picture(light(seed=3).mean(0)))
    once = stand.audit(CROPS[:1], own=True)
    report = stand.look(stand.whole, other, once, stand.audit(CROPS[1:], own=True))
    assert (report.contradicted, report.doubted) == ((), (other.task,))


def test_a_repeat_that_agrees_contradicts_nobody(stand):
    report = stand.look(stand.whole, stand.audit(), stand.audit(own=True))
    assert report.contradicted == ()
    assert len(report.crops) == 2 * len(CROPS)


def test_another_device_class_contradicts_nobody_and_is_not_compared_beside_the_own_class(stand):
    other = picture(light().mean(0) * 1.0001)
    report = stand.look(stand.whole, stand.audit(whole=other, own=True, same_class=False), stand.audit())
    assert report.contradicted == ()
    assert not any(crop.different for crop in report.crops)
    alone = stand.look(stand.whole, stand.audit(whole=other, own=True, same_class=False))
    assert all(crop.different for crop in alone.crops)
    assert max(crop.relative for crop in alone.crops) < 1e-3


@pytest.mark.parametrize("harm", ["cut", "size", "nan", "missing"])
def test_an_audit_that_is_no_picture_does_not_count(stand, harm):
    audit = stand.audit()
    path = audit.crops[0]
    if harm == "cut":
        path.write_bytes(path.read_bytes()[:-20])
    elif harm == "size":
        stand.write(path, exr.crop(stand.whole, inside(Tile(96, 40, 105, 48))))
    elif harm == "nan":
        stand.write(path, changed(exr.crop(stand.whole, inside(CROPS[0])), Tile(0, 0, 1, 1), numpy.nan))
    else:
        audit = replace(audit, crops=audit.crops[1:])
    report = stand.look(stand.whole, audit)
    assert report.contradicted == (audit.task,)
    assert report.crops == ()


def test_a_sparse_pass_that_is_no_picture_leaves_no_suspects(stand):
    audit = stand.audit()
    audit.sparse.write_bytes(b"nothing")
    report = stand.look(stand.whole, audit)
    assert report.suspects == ()
    assert len(report.crops) == len(CROPS)


def test_a_sparse_pass_of_numbers_nobody_can_add_up_is_survived(stand):
    wild = changed(stand.few, Tile(0, 0, 64, 64), 3e38)
    report = stand.look(stand.whole, stand.audit(few=wild))
    assert len(report.suspects) == AuditPolicy().suspects


# --- files that are no tile -------------------------------------------------------------------------


def submitted(stand, image=None):
    path = stand.folder / "tile.exr"
    stand.write(path, image or stand.whole)
    return path, stand.order(image or stand.whole)


def test_pixels_that_are_not_those_signed(stand):
    path, _ = submitted(stand)
    report = stand.look_at(path, CheckOrder("0" * 64))
    assert report.fault is Fault.WRONG_ROOT
    assert "signed" in report.detail


@pytest.mark.parametrize("harm", ["cut", "header", "text", "empty"])
def test_files_that_cannot_be_decoded(stand, harm):
    path, order = submitted(stand)
    data = path.read_bytes()
    harmed = {
        "cut": data[: len(data) // 2],
        "header": data[:100],
        "text": b"a picture, honestly",
        "empty": b"",
    }
    path.write_bytes(harmed[harm])
    assert stand.look_at(path, order).fault is Fault.UNDECODABLE


def test_a_picture_of_another_size(stand):
    path, order = submitted(stand, exr.crop(stand.whole, Tile(0, 0, 64, 48)))
    report = stand.look_at(path, order)
    assert report.fault is Fault.WRONG_SIZE
    assert "64 x 48 pixels instead of 128 x 96" in report.detail


@pytest.mark.parametrize("value", [numpy.nan, numpy.inf, -numpy.inf])
def test_colours_that_are_no_numbers(stand, value):
    path, order = submitted(stand, changed(stand.whole, Tile(5, 5, 6, 7), value))
    report = stand.look_at(path, order)
    assert report.fault is Fault.NOT_FINITE
    assert "2 values" in report.detail


def test_passes_that_are_missing_added_renamed_or_not_floats(stand):
    combined, depth = stand.whole.parts
    for parts, words in (
        ((combined,), "Depth.Z are missing"),
        ((combined, depth, Part("extra", {"x": depth.channels["Layer.Depth.Z"]}, {})), "x are in"),
        ((combined, Part("Layer.Mist", {"Layer.Mist.Z": depth.channels["Layer.Depth.Z"]}, {})), "missing"),
    ):
        path, order = submitted(stand, replace(stand.whole, parts=parts))
        report = stand.look_at(path, order)
        assert report.fault is Fault.WRONG_PASSES
        assert words in report.detail
    halves = Part("Layer.Depth", {"Layer.Depth.Z": depth.channels["Layer.Depth.Z"].astype("f2")}, {})
    path, order = submitted(stand, replace(stand.whole, parts=(combined, halves)))
    assert stand.look_at(path, order).fault is Fault.WRONG_PASSES


def test_a_tile_with_other_passes_than_the_audit_differs_everywhere_where_the_job_has_no_tile_yet(stand):
    path, order = submitted(stand, replace(stand.whole, parts=stand.whole.parts[:1]))
    report = stand.look_at(path, replace(order, channels=()), stand.audit())
    assert report.fault is None
    assert [crop.different for crop in report.crops] == [64] * len(CROPS)


def bomb(path, channels, width=TILE.width, height=TILE.height):
    """A small file whose header promises much."""
    row = numpy.zeros((height, width), "f")
    part = OpenEXR.Part(
        {"type": OpenEXR.scanlineimage, "compression": OpenEXR.ZIP_COMPRESSION},
        {f"Layer.{number}.R": row for number in range(channels)},
        "Layer",
    )
    OpenEXR.File([part]).write(str(path))


def test_a_picture_that_would_fill_the_memory_is_not_decoded(stand):
    path = stand.folder / "tile.exr"
    bomb(path, 600)
    report = stand.look_at(path, CheckOrder("0" * 64), limits=Limits(decoded_bytes=1 << 20))
    assert report.fault is Fault.TOO_LARGE


def test_an_honest_picture_too_large_for_this_process_is_nobodys_fault(stand):
    path, order = submitted(stand)
    with pytest.raises(MemoryError):
        look(path, TILE, SAMPLES, order, limits=Limits(decoded_bytes=1 << 10))


def test_a_file_with_a_long_tail_is_refused_before_it_is_read(stand):
    path, order = submitted(stand)
    with path.open("r+b") as file:
        file.truncate(1 << 33)
    assert stand.look_at(path, order).fault is Fault.TOO_LARGE


def test_one_colour_all_over_is_said_and_a_picture_is_not(stand):
    grey = changed(stand.whole, Tile(0, 0, TILE.width, TILE.height), 0.5)
    report = stand.look(grey)
    assert report.flat
    assert report.noise == 0
    assert not stand.look(stand.whole).flat
    assert stand.look(stand.whole).noise > 0.05


def with_depths(image, value, *places):
    """The picture with depths of this value, at places from the tile's lower left corner."""
    channels = {part.name: {name: old.copy() for name, old in part.channels.items()} for part in image.parts}
    for x, y in places:
        channels["Layer.Depth"]["Layer.Depth.Z"][image.height - 1 - y, x] = value
    return replace(image, parts=tuple(replace(part, channels=channels[part.name]) for part in image.parts))


@pytest.mark.parametrize("value", [numpy.nan, numpy.inf])
def test_blocks_that_hold_no_numbers_are_all_to_be_rendered_again(stand, value):
    places = [(100, 20), (17, 9), (18, 9), (127, 95)]
    report = stand.look(with_depths(stand.whole, value, *places), stand.audit())
    assert report.fault is None
    assert (report.not_finite, report.must) == (4, 3)
    blocks = [Tile(112, 48, 120, 56), Tile(192, 56, 200, 64), Tile(216, 128, 224, 136)]
    assert report.suspects[0] == blocks[0], "the block with two of them first"
    assert set(report.suspects[:3]) == set(blocks)
    again = stand.audit(crops=blocks)
    told = stand.look(with_depths(stand.whole, value, *places), stand.audit(), again)
    assert told.must == 0
    assert sum(crop.different for crop in told.crops) == 4


def test_a_tile_full_of_them_is_rendered_again_as_a_whole(stand):
    places = [(x, y) for x in range(0, 128, 8) for y in range(0, 96, 8)]
    report = stand.look(with_depths(stand.whole, numpy.nan, *places), stand.audit())
    assert (report.suspects, report.must) == ((TILE,), 1)


def test_a_depth_falsified_by_little_is_the_first_suspect(stand):
    place = [(x, y) for x in range(40, 51) for y in range(30, 41)]
    report = stand.look(with_depths(stand.whole, 6.001, *place), stand.audit())
    assert all(crop.different == 0 for crop in report.crops)
    block = report.suspects[0]
    assert block.x0 - TILE.x0 in (40, 48)
    assert block.y0 - TILE.y0 in (32, 40, 24)
    assert report.suspicion >= 1e6


# --- a device that adds in any order -------------------------------------------------------------------

SUMS = Sums(SAMPLES)


def reordered(image, seed):
    """The picture with each colour a few units in the last place away, as another order of sums leaves it."""
    rng = numpy.random.default_rng(seed)

    def moved(name, pixels):
        if not name.endswith((".R", ".G", ".B")):
            return pixels
        return (pixels * (1 + rng.integers(-4, 5, pixels.shape) * 2.0**-24)).astype("f")

    parts = tuple(
        replace(part, channels={name: moved(name, pixels) for name, pixels in part.channels.items()})
        for part in image.parts
    )
    return replace(image, parts=parts)


def any_order(stand, image):
    return replace(stand.order(image), sums=SUMS)


def look_any(stand, image, *audits):
    path = stand.folder / "tile.exr"
    stand.write(path, image)
    return stand.look_at(path, any_order(stand, image), *audits)


def test_an_honest_tile_of_a_gpu_differs_in_its_last_bits_and_is_equal(stand):
    tile, audited = reordered(stand.whole, 1), reordered(stand.whole, 2)
    report = look_any(stand, tile, stand.audit(whole=audited, own=True))
    assert not any(crop.different for crop in report.crops)
    assert 0 < max(crop.bound for crop in report.crops) < 0.5
    assert report.confirmed == (f"job.1.1.{stand.made}",)
    strict = stand.look(tile, stand.audit(whole=audited, own=True))
    assert any(crop.different for crop in strict.crops), "a CPU's tile would be another one"


def test_honest_auditors_of_a_gpu_do_not_contradict_each_other(stand):
    audits = [stand.audit(whole=reordered(stand.whole, seed), own=seed > 0) for seed in range(3)]
    report = look_any(stand, reordered(stand.whole, 9), *audits)
    assert (report.contradicted, report.doubted, report.unlike) == ((), (), ())
    assert len(report.crops) == 3 * len(CROPS)


def test_an_auditor_that_lies_is_contradicted_by_two_renders_that_are_not_the_same_bits(stand):
    lie = changed(stand.whole, inside(CROPS[0]), 0.5)
    audits = [
        stand.audit(whole=lie),
        *(stand.audit(whole=reordered(stand.whole, n), own=True) for n in (1, 2)),
    ]
    report = look_any(stand, reordered(stand.whole, 9), *audits)
    assert report.contradicted == ("job.1.1.1",)
    assert len(report.confirmed) == 2


def test_own_renders_that_no_order_explains_are_unlike(stand):
    other = changed(stand.whole, inside(CROPS[0]), 0.5)
    audits = [stand.audit(whole=reordered(stand.whole, 1), own=True), stand.audit(whole=other, own=True)]
    report = look_any(stand, reordered(stand.whole, 9), *audits)
    assert report.unlike == ("job.1.1.1", "job.1.1.2")


def test_a_sample_less_is_found_on_a_gpu_as_well(stand):
    samples = light()
    fewer = picture(samples[:-1].mean(0))
    report = look_any(stand, fewer, stand.audit(whole=reordered(stand.whole, 2), own=True))
    assert all(crop.different > crop.tile.area / 2 for crop in report.crops)
    assert report.confirmed == ()


def test_a_cpu_that_calls_itself_a_gpu_gains_nothing(stand):
    """The tolerance holds no lie: what is painted over a CPU's picture is found as on a GPU."""
    painted = changed(stand.whole, Tile(66, 42, 70, 46), 0.5)
    report = look_any(stand, painted, stand.audit(own=True))
    assert [crop.different for crop in report.crops] == [0, 16, 0]


def test_a_falsified_pass_is_not_taken_for_another_devices_rounding(stand):
    """Colours that differ by rounding alone are right, so that what is false is told for what it is."""
    depth = numpy.tile(numpy.linspace(3, 9, TILE.width), (TILE.height, 1)) * 1.5
    falsified = reordered(picture(light().mean(0), depth=depth), 1)
    report = look_any(stand, falsified, stand.audit(whole=reordered(stand.whole, 2), own=True))
    assert all(crop.different == crop.tile.area and crop.relative == 0 for crop in report.crops)
    verdict = judge(report, Case(1, SAMPLES, 1, summation=Summation.ANY_ORDER))
    assert (verdict.outcome, verdict.code) == (Outcome.REJECTED, "differs")
    assert "another pass is not" in verdict.reason


def test_evidence_shows_what_is_explained_darker_than_what_is_not(stand, tmp_path):
    painted = changed(reordered(stand.whole, 1), Tile(64, 40, 68, 44), 5.0)
    path = stand.folder / "tile.exr"
    stand.write(path, painted)
    evidence = tmp_path / "evidence"
    evidence.mkdir()
    stand.look_at(path, any_order(stand, painted), stand.audit(own=True), folder=evidence)
    assert sorted(one.name for one in evidence.iterdir()) == [
        f"crop-1-{name}.png" for name in ("difference", "rendered", "submitted")
    ]


# --- adaptive sampling ----------------------------------------------------------------------------------

FLIPPING = Sums(SAMPLES, noise_threshold=0.05, min_samples=8)


def counted(image, taken=SAMPLES, brighter=1.0, *places):
    """The picture with its sample counts: `taken`, and so much more light, at the places (row from the
    bottom, column) of the tile.
    """
    counts = numpy.full((TILE.height, TILE.width), SAMPLES, "f")
    factor = numpy.ones_like(counts)
    for place in places:
        counts[place], factor[place] = taken, brighter
    parts = tuple(
        replace(
            part,
            channels={
                name: pixels * top_down(factor) if name[-1] in "RGB" else pixels
                for name, pixels in part.channels.items()
            },
        )
        for part in image.parts
    )
    return Image(
        image.width,
        image.height,
        (*parts, Part("Layer.Debug Sample Count", {"Layer.Debug Sample Count.X": top_down(counts)}, {})),
    )


def look_adaptive(stand, image, *audits):
    path = stand.folder / "tile.exr"
    stand.write(path, image)
    order = CheckOrder(pixel_root([stand.layout(image)]), sums=FLIPPING)
    return stand.look_at(path, order, *audits)


def a_few_in_each_crop(count):
    """Pixels of every crop."""
    corners = [inside(crop) for crop in CROPS]
    return [(corner.y0 + n // 8, corner.x0 + n % 8) for corner in corners for n in range(count)]


@pytest.mark.parametrize(("each", "different", "doubtful"), [(3, 0, 0), (4, 12, 12), (8, 24, 24), (9, 27, 0)])
def test_pixels_that_stopped_elsewhere_are_counted_over_all_audits(stand, each, different, doubtful):
    """Few in each, but in all together more than one decision takes along."""
    tile = counted(stand.whole, 16, 1.0, *a_few_in_each_crop(each))
    whole = counted(stand.whole)
    audits = [stand.audit(crops, whole=whole, own=True) for crops in (CROPS[:1], CROPS[1:])]
    report = look_adaptive(stand, tile, *audits)
    assert sum(crop.different for crop in report.crops) == different
    assert sum(crop.doubtful for crop in report.crops) == doubtful


def test_an_audit_that_was_repeated_counts_a_flip_once(stand):
    tile = counted(stand.whole, 16, 1.0, *a_few_in_each_crop(3))
    audits = [stand.audit(whole=counted(stand.whole), own=True) for _ in range(3)]
    assert {crop.different for crop in look_adaptive(stand, tile, *audits).crops} == {0}


def test_a_pixel_that_stopped_elsewhere_with_a_bright_sample_makes_no_two_renders_unlike(stand):
    bright = counted(stand.whole, 16, 0.4, *a_few_in_each_crop(1))
    own = [stand.audit(whole=image, own=True) for image in (counted(stand.whole), bright)]
    stranger = stand.audit(whole=bright)
    report = look_adaptive(stand, counted(stand.whole), *own, stranger)
    assert (report.unlike, report.contradicted, report.doubted) == ((), (), ())
    assert report.confirmed == ("job.1.1.1", "job.1.1.2")
    assert any(crop.doubtful for crop in report.crops)
