# SPDX-License-Identifier: GPL-3.0-or-later
"""What a manifest must not be, and what a job must not ask for."""

import pytest

from farm_protocol.errors import InvalidInput
from farm_protocol.records import Blob, Manifest, OutputFile
from farm_protocol.scene_ids import scene_id
from render_farm.intake import check_manifest
from render_farm.results import check_files

BLOB = Blob("0" * 64, 1)
TRICKS = ["/etc/passwd", "../up.blend", "a/../../b", "C:/x", "C:x", "a\\b", "", "a//b", "./a", "a\0b", "a\nb"]


@pytest.mark.parametrize("name", TRICKS)
def test_path_tricks_are_refused(name):
    with pytest.raises(InvalidInput):
        check_manifest(Manifest("main.blend", {"main.blend": BLOB, name: BLOB}))


@pytest.mark.parametrize("name", TRICKS)
def test_result_names_are_checked_alike(name):
    with pytest.raises(InvalidInput):
        check_files((OutputFile(name, "0" * 64, 1),))


def test_main_must_be_among_the_files():
    with pytest.raises(InvalidInput, match="main"):
        check_manifest(Manifest("main.blend", {"other.blend": BLOB}))


def test_a_file_cannot_be_a_folder_too():
    with pytest.raises(InvalidInput, match="folder"):
        check_manifest(Manifest("a", {"a": BLOB, "a/b/c": BLOB}))


def test_one_sha256_has_one_size():
    with pytest.raises(InvalidInput, match="size"):
        check_manifest(Manifest("a", {"a": BLOB, "b": Blob("0" * 64, 2)}))


def test_huge_files_are_refused():
    with pytest.raises(InvalidInput, match="larger"):
        check_manifest(Manifest("a", {"a": Blob("0" * 64, 6 * 1000**3)}))
    with pytest.raises(InvalidInput, match="larger"):
        check_files((OutputFile("a", "0" * 64, 6 * 1000**3),))


def test_result_needs_files_each_once():
    with pytest.raises(InvalidInput):
        check_files(())
    with pytest.raises(InvalidInput, match="twice"):
        check_files((OutputFile("a", "0" * 64, 1), OutputFile("a", "1" * 64, 1)))


def test_scene_id_ignores_the_order_of_files():
    one, two = Blob("0" * 64, 1), Blob("1" * 64, 2)
    assert scene_id(Manifest("a", {"a": one, "b": two})) == scene_id(Manifest("a", {"b": two, "a": one}))
    assert scene_id(Manifest("a", {"a": one, "b": two})) != scene_id(Manifest("b", {"a": one, "b": two}))


def test_a_configuration_of_colours_must_be_in_the_scene() -> None:
    files = {"a.blend": BLOB, "_ocio/config.ocio": BLOB}
    for named in ("", "_ocio/config.ocio", "ocio://default"):
        check_manifest(Manifest("a.blend", files, named))
    for named in ("/studio/config.ocio", "config.ocio", "ocio://../x"):
        with pytest.raises(InvalidInput):
            check_manifest(Manifest("a.blend", files, named))


def test_the_same_files_under_other_colours_are_another_scene() -> None:
    plain = Manifest("a.blend", {"a.blend": BLOB})
    assert scene_id(plain) != scene_id(Manifest("a.blend", {"a.blend": BLOB}, "ocio://default"))
    assert scene_id(plain) == scene_id(Manifest("a.blend", {"a.blend": BLOB}, ""))
