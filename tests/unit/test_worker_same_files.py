# SPDX-License-Identifier: GPL-3.0-or-later
"""Two written pictures are compared bit by bit, and nothing but their pixels."""

import numpy
import OpenImageIO as oiio  # noqa: N813
import pytest
from PIL import Image, PngImagePlugin

from gpu_worker.pictures.same_files import difference

PIXELS = numpy.arange(4 * 6 * 3, dtype=numpy.uint8).reshape(4, 6, 3)


def png(path, pixels=PIXELS, **notes):
    info = PngImagePlugin.PngInfo()
    for name, text in notes.items():
        info.add_text(name, text)
    Image.fromarray(pixels).save(path, pnginfo=info)
    return path


def exr(path, pixels, names=("R", "G", "B"), parts=1):
    specs = []
    for part in range(parts):
        spec = oiio.ImageSpec(pixels.shape[1], pixels.shape[0], len(names), oiio.FLOAT)
        spec.channelnames = names
        spec.attribute("oiio:subimagename", f"part{part}")
        specs.append(spec)
    output = oiio.ImageOutput.create(str(path))
    assert output.open(str(path), tuple(specs))
    for part, spec in enumerate(specs):
        if part:
            assert output.open(str(path), spec, "AppendSubimage")
        assert output.write_image(pixels if part == parts - 1 else pixels * 0)
    output.close()
    return path


def test_notes_beside_the_pixels_do_not_count(tmp_path):
    one, other = png(tmp_path / "a.png", RenderTime="00:01"), png(tmp_path / "b.png", RenderTime="00:02")
    assert one.read_bytes() != other.read_bytes()
    assert difference(one, other) == ""


def test_pixels_are_counted_once_however_many_channels_differ(tmp_path):
    changed = PIXELS.copy()
    changed[0, 0] += 1
    one, other = png(tmp_path / "a.png"), png(tmp_path / "b.png", changed)
    assert difference(one, other) == "differs in 1 pixel"
    changed[2, 3, 1] += 1
    assert difference(one, png(tmp_path / "c.png", changed)) == "differs in 2 pixels"


@pytest.mark.parametrize(
    ("value", "different"),
    [(-0.0, "differs in 1 pixel"), (numpy.nan, "differs in 1 pixel"), (0.0, "")],
)
def test_floats_are_compared_bit_by_bit(tmp_path, value, different):
    plain = numpy.zeros((4, 6, 3), numpy.float32)
    other = plain.copy()
    other[1, 1, 2] = value
    assert difference(exr(tmp_path / "a.exr", plain), exr(tmp_path / "b.exr", other)) == different
    assert difference(tmp_path / "b.exr", tmp_path / "b.exr") == ""


def test_every_part_of_a_file_is_compared(tmp_path):
    plain = numpy.ones((4, 6, 3), numpy.float32)
    other = plain.copy()
    other[0, :2] = 2
    one, two = exr(tmp_path / "a.exr", plain, parts=2), exr(tmp_path / "b.exr", other, parts=2)
    assert difference(one, two) == "differs in 2 pixels"


def test_other_channels_sizes_and_depths_are_told(tmp_path):
    plain = numpy.zeros((4, 6, 3), numpy.float32)
    one = exr(tmp_path / "a.exr", plain)
    assert difference(one, exr(tmp_path / "b.exr", plain, ("R", "G", "Z"))) == "has other channels"
    assert difference(one, exr(tmp_path / "c.exr", plain[:3])) == "has another size"
    assert difference(png(tmp_path / "a.png"), exr(tmp_path / "d.exr", plain)) == "has another depth"


@pytest.mark.parametrize("body", [b"", b"no picture", b"\x89PNG\r\n\x1a\n and no more"])
def test_what_cannot_be_decoded_is_no_proof_that_it_is_alike(tmp_path, body):
    broken = tmp_path / "broken.png"
    broken.write_bytes(body)
    assert "cannot be decoded" in difference(png(tmp_path / "a.png"), broken)
