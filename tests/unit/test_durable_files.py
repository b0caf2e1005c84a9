# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that are there as a whole or not at all, for their user alone, with bounds and locks."""

import os
import stat
from pathlib import Path

import pytest

from farm_protocol import files
from farm_protocol.errors import InvalidInput


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_is_replaced_when_the_block_ends_well(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"old")
    with files.replaced(path) as file:
        file.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_block_that_fails_leaves_what_was_there_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"old")
    with pytest.raises(ValueError, match="closed"), files.replaced(path) as file:
        file.close()
    assert (list(tmp_path.iterdir()), path.read_bytes()) == ([path], b"old")


def test_the_disk_has_the_bytes_before_the_name_and_then_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    plain_sync, plain_replace = os.fsync, os.replace

    def sync(descriptor: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        plain_sync(descriptor)

    def replace(source: str, target: Path) -> None:
        done.append("replace")
        plain_replace(source, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "replace", replace)
    files.write_private(tmp_path / "f", b"x")
    files.write_private(tmp_path / "g", b"x", durable=False)
    assert done == ["file", "replace", "folder", "replace"]


def test_private_files_are_private_whatever_the_umask_and_others_are_as_it_says(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        files.write_private(tmp_path / "private", b"x")
        files.create_private(tmp_path / "created", b"x")
        files.append_line(tmp_path / "lines", "x")
        with files.replaced(tmp_path / "plain") as file:
            file.write(b"x")
    finally:
        os.umask(before)
    assert [mode(tmp_path / name) for name in ("private", "created", "lines", "plain")] == [0o600] * 3 + [
        0o644
    ]


def test_a_new_private_file_replaces_nothing(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        files.create_private(tmp_path / "f", b"x")
    assert (tmp_path / "f").read_bytes() == b"mine"


def test_lines_go_after_one_that_was_cut_off_and_through_no_link(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"one\ntw")
    files.append_line(path, "three")
    assert path.read_bytes() == b"one\ntw\nthree\n"
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(OSError, match="symbolic"):
        files.append_line(tmp_path / "link", "four")


def test_a_file_is_read_to_its_bound(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"1234")
    assert files.read_bounded(tmp_path / "f", 4) == b"1234"
    with pytest.raises(InvalidInput, match="f is too long"):
        files.read_bounded(tmp_path / "f", 3)
