"""docs/sizing.md tells what is set."""

import re

import pytest

from dispatcher.settings.settings import DispatcherSettings
from tests.conftest import CONFIG
from tests.support.repository import ROOT

TEXT = (ROOT / "docs" / "sizing.md").read_text()
SERVER = (CONFIG / "nats-streaming" / "nats-streaming.conf").read_text()
TABLE = dict(re.findall(r"^\| `(max_\w+)`[^|]*\| ([^|]+) \|", TEXT, re.MULTILINE))
MIB = 1024 * 1024


@pytest.mark.parametrize("limit", ["max_age", "max_channels", "max_inactivity", "max_payload"])
def test_limits_are_those_of_the_manifests(limit: str) -> None:
    match = re.search(rf"^\s*{limit}: (.+)$", SERVER, re.MULTILINE)
    told = TABLE[limit]
    if match is None:
        assert told in ("not set", "1 MiB, of NATS")
    else:
        value = match[1].strip('"')
        assert told in (value.replace("h", " h"), f"{value}, unlimited")


def test_the_table_has_every_limit_of_the_manifests() -> None:
    told = set(re.findall(r"`(max_\w+)`", TEXT))
    assert set(re.findall(r"\b(max_\w+):", SERVER)) <= told


def test_bytes_in_memory_are_the_defaults() -> None:
    settings = DispatcherSettings.load(["--kubernetes=on"], {})
    limits = [settings.ingress.max_buffered_bytes, settings.delivery.max_buffered_bytes]
    assert re.findall(r"\| (\d+) MiB at most", TEXT) == [str(each // MIB) for each in limits]


def test_the_small_setting_is_understood() -> None:
    environ = dict(re.findall(r"`([A-Z_]+)=(\w+)`", TEXT))
    settings = DispatcherSettings.load(["--kubernetes=on"], environ)
    assert settings.ingress.max_buffered_bytes == settings.delivery.max_buffered_bytes == 32 * MIB
