# SPDX-License-Identifier: GPL-3.0-or-later
"""The coordinator's settings."""

import pytest

from farm_protocol.errors import FarmError, InvalidInput
from payments import network
from render_farm.config import read
from render_farm.rules import Arbiters
from tests.unit.test_coordinator_paying import NETWORK

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


def test_arbiters_are_the_farm_itself_unless_named():
    assert read([], SECRETS).arbiters is None
    one, other = "0x" + "11" * 20, "0x" + "aB" * 20
    chosen = read(["--arbiters", f"{one}, {other}", "--arbiter-threshold", "2"], SECRETS).arbiters
    assert chosen == Arbiters((one, other), 2)


@pytest.mark.parametrize(
    "flags",
    [
        ["--arbiters", "0x12"],
        ["--arbiters", "0x" + "00" * 20],
        ["--arbiters", ",".join(["0x" + "11" * 20, "0x" + "11" * 20])],
        ["--arbiters", ",".join(f"0x{number:040x}" for number in range(1, 18))],
        ["--arbiters", "0x" + "11" * 20, "--arbiter-threshold", "2"],
        ["--arbiters", "0x" + "11" * 20, "--arbiter-threshold", "0"],
        ["--chain", "/nowhere/chain.toml"],
    ],
)
def test_money_settings_that_cannot_be_are_refused(flags):
    with pytest.raises(FarmError):
        read(flags, SECRETS)


def test_a_chain_is_named_by_a_file_and_never_by_its_url(tmp_path):
    (tmp_path / "chain.toml").write_text(network.text(NETWORK))
    chosen = read(
        [], SECRETS | {"FARM_CHAIN": str(tmp_path / "chain.toml"), "FARM_CHAIN_URL": "http://key@x"}
    )
    assert chosen.network == NETWORK
    assert "key@x" not in repr(chosen)


@pytest.mark.parametrize("key", ["", "11" * 31, "11" * 33, "zz" * 32, "00" * 32, "ff" * 32])
def test_what_is_no_signing_key_is_said_without_telling_it(key):
    with pytest.raises(InvalidInput, match="FARM_SIGNING_KEY") as refused:
        read([], SECRETS | {"FARM_SIGNING_KEY": key})
    assert not key or key not in refused.value.sentence


def test_key_decides_address_and_beacon_and_shows_nowhere():
    first, second = (read([], SECRETS | {"FARM_SIGNING_KEY": key * 32}).rules for key in ("11", "22"))
    assert first.address != second.address
    assert first.beacon.commitment(7) != second.beacon.commitment(7)
    again = read([], SECRETS | {"FARM_SIGNING_KEY": "0x" + "11" * 32})
    assert again.rules.address == first.address
    assert again.rules.beacon.commitment(7) == first.beacon.commitment(7), "it survives restarts"
    assert "11" * 8 not in repr(again)
    assert str(first.key) not in repr(again)


def test_rates_and_policy_are_shares():
    flags = ["--audit-own", "0", "--audit-floor", "0.25", "--audit-repeat", "1", "--audit-crops", "9"]
    rules = read(flags, SECRETS | {"FARM_AUDIT_SUSPECTS": "0", "FARM_BEACON_PERIOD": "2"}).rules
    assert (rules.rates.own, rules.rates.floor, rules.policy.repeat) == (0, 250_000, 1_000_000)
    assert (rules.policy.crops, rules.policy.suspects, rules.beacon.period) == (9, 0, 2.0)


def test_public_beacon():
    rules = read(["--beacon", "https://a.example,https://b.example"], SECRETS).rules
    assert rules.name == rules.public().beacon != "local"
    assert rules.beacon.period == 3.0


@pytest.mark.parametrize(
    "flags",
    [
        ["--audit-own", "1.5"],
        ["--audit-floor", "-0.1"],
        ["--audit-repeat", "x"],
        ["--audit-crops", "0"],
        ["--audit-crops", "65"],
        ["--audit-halving", "0"],
        ["--audit-sparse-samples", "0"],
        ["--beacon", "drand"],
        ["--beacon", "https://a.example,ftp://b.example"],
        ["--beacon-period", "0"],
    ],
)
def test_unusable_rules_are_refused(flags):
    with pytest.raises(InvalidInput, match=flags[0].lstrip("-")):
        read(flags, SECRETS)
