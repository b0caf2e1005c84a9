# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files a USD file is put together from."""

import struct
from pathlib import Path

import pytest

from render_farm.scene.asset_rules import AssetRules
from render_farm.scene.asset_tracing import Use
from render_farm.scene.packing import _Chosen
from render_farm.scene.path_fields import PathField
from render_farm.scene.usd_layers import layers

TEXT = b"#usda 1.0\n( subLayers = [@./parts/a.usda@] )\n"


def put(path: Path, data: bytes = b"#usda 1.0\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def crate(packed: bytes, size: int) -> bytes:
    """A binary file with nothing but words in it."""
    words = struct.pack("<QQQ", 2, size, len(packed)) + packed
    contents = struct.pack("<Q16sQQ", 1, b"TOKENS", 88, len(words))
    return b"PXR-USDC" + bytes(8) + struct.pack("<Q", 88 + len(words)) + bytes(64) + words + contents


WORDS = b"word\0./shape.usdc\0"
PACKED = b"\0" + bytes([0xF0, len(WORDS) - 15]) + WORDS
"""The words as one block of plain bytes."""


def test_layers_of_layers_are_found(tmp_path: Path) -> None:
    first = put(tmp_path / "shot.usda", TEXT)
    between = put(tmp_path / "parts" / "a.usda", b"#usda 1.0\ndef X ( references = @../b.usdc@</x> ) {}")
    last = put(tmp_path / "b.usdc", crate(PACKED, len(WORDS)))
    shape = put(tmp_path / "shape.usdc")
    put(tmp_path / "other.usda")
    assert layers(first) == [between, last, shape]


def test_layers_that_name_each_other_end(tmp_path: Path) -> None:
    first = put(tmp_path / "a.usda", b"#usda 1.0\n( subLayers = [@b.usda@] )")
    second = put(tmp_path / "b.usda", b"#usda 1.0\n( subLayers = [@a.usda@] )")
    assert layers(first) == [second]


def test_value_clips_are_found_by_their_pattern(tmp_path: Path) -> None:
    first = put(tmp_path / "a.usda", b"#usda 1.0\nasset templateAssetPath = @clip.###.usd@")
    clips = [put(tmp_path / f"clip.{number:03}.usd") for number in (1, 2)]
    assert layers(first) == clips


@pytest.mark.parametrize(
    "data",
    [
        crate(b"\0\xf0", 1 << 20),
        crate(b"\0" + bytes([0x14, 65, 9, 0]), 100),
        crate(bytes([3, 255, 255, 255, 127]), 100),
        crate(PACKED, 1 << 60),
        b"PXR-USDC" + bytes(8) + b"\xff" * 8,
        b"PXR-USDC",
        b"",
        b"@" * 1000,
        b"@/etc/passwd.usd@ @https://host/x.usd@ @gone.usd@",
    ],
)
def test_what_is_damaged_or_names_nothing_gives_no_layers(tmp_path: Path, data: bytes) -> None:
    put(tmp_path / "shape.usdc")
    assert layers(put(tmp_path / "x.usdc", data)) == []


def test_layers_are_judged_as_any_file(tmp_path: Path) -> None:
    key = put(tmp_path / "home" / ".ssh" / "key.usda")
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "link.usda").symlink_to(key)
    names = b"#usda 1.0\n@../home/.ssh/key.usda@ @link.usda@ @good.usda@ @../../../../etc/passwd.usda@"
    scene, first = tmp_path / "project" / "a.blend", put(tmp_path / "project" / "a.usda", names)
    good = put(tmp_path / "project" / "good.usda")
    chosen = _Chosen(AssetRules(scene.parent), {})
    assert chosen.take(Use(scene, PathField(b"//a.usda", None), first, scene))
    assert chosen.sources == {first: [first, good]}
    assert all("hidden" in reason for reason in chosen.left_out.values())
    assert len(chosen.left_out) == 2
