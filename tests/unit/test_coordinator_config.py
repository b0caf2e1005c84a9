# SPDX-License-Identifier: GPL-3.0-or-later
"""The coordinator's settings."""

import pytest

from frame_splitter.errors import InvalidInput
from render_farm.config import read

SECRETS = {
    "FARM_ADMIN_TOKEN": "t",
    "FARM_SIGNING_KEY": "11" * 32,
    "AWS_ACCESS_KEY_ID": "k",
    "AWS_SECRET_ACCESS_KEY": "s",
}


def test_flags_before_environment_before_defaults():
    chosen = read(["--port", "9"], SECRETS | {"FARM_PORT": "8", "FARM_BIND": "::1"})
    assert (chosen.port, chosen.bind, chosen.lease_seconds) == (9, "::1", 30.0)


def test_public_endpoint_is_the_endpoint_unless_given():
    assert read(["--s3-endpoint", "http://in:1"], SECRETS).objects.public == "http://in:1"
    outside = read(["--s3-endpoint", "http://in:1", "--s3-public-endpoint", "https://out"], SECRETS)
    assert (outside.objects.endpoint, outside.objects.public) == ("http://in:1", "https://out")


def test_admin_token_from_a_file(tmp_path):
    (tmp_path / "token").write_text("secret\n")
    assert read(["--admin-token-file", str(tmp_path / "token")], SECRETS).admin_token == "secret"


@pytest.mark.parametrize("missing", sorted(SECRETS))
def test_missing_secret_is_named(missing):
    with pytest.raises(InvalidInput, match=missing):
        read([], {name: value for name, value in SECRETS.items() if name != missing})


@pytest.mark.parametrize(
    "flags",
    [
        ["--port", "70000"],
        ["--port", "x"],
        ["--lease-seconds", "0"],
        ["--lease-seconds", "nan"],
        ["--redis-url", "localhost:6379"],
        ["--s3-endpoint", "ftp://x"],
        ["--admin-token-file", "/nowhere/at/all"],
    ],
)
def test_unusable_settings_are_refused(flags):
    with pytest.raises(InvalidInput):
        read(flags, SECRETS)
