import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest
import structlog

from natss_provisioner.main import quiet_libraries
from process.logs import LogLevel, LogSettings, configure

LIBRARIES = ("kopf", "asyncio")


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Logging as it was, for the tests that come after."""
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
    logging.getLogger("natss_provisioner.work").debug("debug of ours")
    for handler in logging.getLogger().handlers:
        handler.close()
    assert {json.loads(line)["event"] for line in stream.getvalue().splitlines()} == told
