import io
import json
import logging
from collections.abc import Iterator

import pytest

from natss_provisioner import logs


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Logging as it was, for the tests that come after."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    quiet = {name: logging.getLogger(name).level for name in logs.LEVELS}
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, number in quiet.items():
        logging.getLogger(name).setLevel(number)


def test_in_a_cluster_a_line_is_json() -> None:
    stream = io.StringIO()
    logs.configure("info", "auto", stream)
    logging.getLogger("some.where").warning("Channel %s: %s", "shop/orders", "told")
    (line,) = stream.getvalue().splitlines()
    entry = json.loads(line)
    assert entry.pop("timestamp").endswith("Z")
    assert entry == {
        "event": "Channel shop/orders: told",
        "level": "warning",
        "logger": "some.where",
    }


def test_for_people_it_is_readable_and_an_exception_is_shown() -> None:
    stream = io.StringIO()
    logs.configure("info", "console", stream)
    try:
        raise ValueError("wrong")
    except ValueError:
        logging.getLogger("some.where").exception("failed")
    text = stream.getvalue()
    assert "failed" in text
    assert "ValueError: wrong" in text


def test_passwords_in_urls_are_never_shown() -> None:
    stream = io.StringIO()
    logs.configure("info", "json", stream)
    try:
        raise ValueError("http://user:secret@proxy:3128 refused")
    except ValueError:
        logging.getLogger("x").exception("no answer by http://user:secret@proxy:3128")
    assert "secret" not in stream.getvalue()
    assert "***@proxy" in stream.getvalue()


@pytest.mark.parametrize(
    ("level", "told"),
    [("debug", {"ours", "kopf"}), ("info", set()), ("warning", set())],
)
def test_libraries_are_quiet(level: str, told: set[str]) -> None:
    stream = io.StringIO()
    logs.configure(level, "json", stream)
    for name in ("kopf.objects", "aiohttp.access", "asyncio"):
        logging.getLogger(name).info(name)
    logging.getLogger("kopf.watching").debug("kopf")
    logging.getLogger("natss_provisioner.work").debug("ours")
    assert {json.loads(line)["event"] for line in stream.getvalue().splitlines()} == told
