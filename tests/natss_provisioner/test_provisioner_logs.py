import io
import json
import logging
import sys
from collections.abc import Iterator
from typing import Any, cast

import pytest
import structlog

from natss.contract.labels import object_labels
from natss.kube import EventRecorder, EventType, Forbidden, KubeClient
from natss.process.logs import LogLevel, LogSettings, configure
from natss_provisioner.main import quiet_libraries
from natss_provisioner.work import WorkQueue

LIBRARIES = ("kopf", "asyncio")
CCP = "ClusterChannelProvisioner"


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Restore logging for later tests."""
    root = logging.getLogger()
    handlers, level, hook = root.handlers[:], root.level, sys.excepthook
    levels = {name: logging.getLogger(name).level for name in LIBRARIES}
    root.handlers = []
    yield
    for handler in root.handlers:
        handler.close()
    root.handlers, sys.excepthook = handlers, hook
    root.setLevel(level)
    for name, number in levels.items():
        logging.getLogger(name).setLevel(number)
    structlog.reset_defaults()


@pytest.mark.parametrize(
    ("level", "told"),
    [
        (LogLevel.DEBUG, {"debug of ours", "debug of kopf", "info of kopf", "warning of all"}),
        (LogLevel.INFO, {"warning of all"}),
        (LogLevel.WARNING, {"warning of all"}),
    ],
)
def test_libraries_are_quiet(level: LogLevel, told: set[str]) -> None:
    stream = io.StringIO()
    settings = LogSettings(level=level)
    configure(settings, stream, quiet=quiet_libraries(settings))
    logging.getLogger("asyncio").info("info of asyncio")
    logging.getLogger("asyncio").warning("warning of all")
    logging.getLogger("kopf.login").debug("debug of kopf")
    logging.getLogger("kopf.login").info("info of kopf")
    structlog.get_logger("natss_provisioner.work").debug("debug of ours")
    for handler in logging.getLogger().handlers:
        handler.close()
    assert {json.loads(line)["event"] for line in stream.getvalue().splitlines()} == told


def configured() -> io.StringIO:
    """Configure logging as in the program, but let no module's logger keep it after the test."""
    stream = io.StringIO()
    configure(LogSettings(), stream)
    structlog.configure(cache_logger_on_first_use=False)
    return stream


def logged(stream: io.StringIO) -> list[dict[str, Any]]:
    for handler in logging.getLogger().handlers:
        handler.close()
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("kind", "metadata", "fields"),
    [
        ("Channel", {"namespace": "shop", "name": "o"}, {"namespace": "shop", "channel": "o"}),
        (
            "Subscription",
            {"namespace": "shop", "name": "mail"},
            {"namespace": "shop", "subscription": "shop/mail"},
        ),
        ("ClusterChannelProvisioner", {"name": "natss"}, {"object": f"{CCP} natss"}),
    ],
)
async def test_what_is_told_of_an_object_has_its_labels(
    kind: str, metadata: dict[str, str], fields: dict[str, str]
) -> None:
    stream = configured()
    recorder = EventRecorder(
        cast("KubeClient", Refusing()), component="tests", instance="0", labels=object_labels
    )
    about = {"apiVersion": "v1", "kind": kind, "metadata": {**metadata, "uid": "u"}}
    await recorder.record(about, EventType.WARNING, "Because", "it is so")
    told, failed = logged(stream)
    assert (told["event"], told["message"]) == ("reported", "it is so")
    assert (told["reason"], told["level"]) == ("Because", "warning")
    assert fields.items() <= told.items()
    assert fields.items() <= failed.items()


class Refusing:
    """An API that accepts no Events."""

    async def create(self, *_: object) -> None:
        raise Forbidden(403, "Forbidden", "not for you")


async def test_what_is_tried_again_is_named_by_fields() -> None:
    stream = configured()
    queue: WorkQueue[str] = WorkQueue(refuse, workers=1, tenant_of=hash)
    keys = ("Channel shop/orders", "Subscription shop/mail", "subscribers of Channel shop/bills")
    for key in keys:
        await queue._attempt(key)
    told = logged(stream)
    assert {each["event"] for each in told} == {"tried again later"}
    assert all("not for you" in each["reason"] and each["wait_seconds"] > 0 for each in told)
    assert [each.get("channel") for each in told] == ["orders", None, "bills"]
    assert told[1]["subscription"] == "shop/mail"


async def refuse(_: str) -> float | None:
    raise Forbidden(403, "Forbidden", "not for you")
