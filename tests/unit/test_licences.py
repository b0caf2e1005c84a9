# SPDX-License-Identifier: GPL-3.0-or-later
"""What the farm is installed with: by hash, from nowhere in particular, under licences that go together."""

import re

import pytest

from tests.support import licences
from tests.support.torch_there import skip_without_torch

skip_without_torch()


@pytest.mark.parametrize("name", licences.LOCKS)
def test_every_locked_package_has_hashes_and_no_address(name):
    text = (licences.ROOT / name).read_text()
    entries = re.split(r"\n(?=[A-Za-z0-9])", text)
    named = [entry for entry in entries if "==" in entry]
    assert named
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}", entry) for entry in named)
    assert "://" not in text
    assert not re.search(r"--(index|extra-index|find-links)", text)


def test_every_node_package_has_its_digest():
    text = (licences.ROOT / licences.PACKAGES).read_text()
    assert text.count('"integrity": "sha512-') == len(licences.node_packages())


def test_every_licence_is_one_that_goes_with_the_gpl():
    for package in (*licences.python_packages(), *licences.node_packages()):
        assert package.licence, f"{package.name} does not say its licence"
        unknown = [part for part in licences.parts(package.licence) if part not in licences.ALLOWED]
        if " OR " in package.licence and len(unknown) < len(licences.parts(package.licence)):
            continue  # one may choose
        assert not unknown, f"{package.name}: {package.licence}"


def test_the_page_is_what_is_installed():
    assert (licences.ROOT / "docs" / "licences.md").read_text() == licences.page()
