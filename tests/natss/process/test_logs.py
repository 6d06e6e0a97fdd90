"""Logs: JSON or for people, whole lines, no bytes, no passwords, and never a standstill."""

import io
import json
import logging
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import structlog

from natss.process.log_writer import LineWriter
from natss.process.logs import LogFormat, LogLevel, LogSettings, configure
from tests.support.repository import ROOT


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Restore the logging of the process, whatever a test configures."""
    root = logging.getLogger()
    handlers, level, hook = root.handlers[:], root.level, sys.excepthook
    root.handlers = []
    yield
    for handler in root.handlers:
        handler.close()
    root.handlers, sys.excepthook = handlers, hook
    root.setLevel(level)
    structlog.reset_defaults()


def written(stream: io.StringIO) -> str:
    """Return what was logged, after the writer has written all."""
    for handler in logging.getLogger().handlers:
        handler.close()
    return stream.getvalue()


def entries(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in written(stream).splitlines()]


@pytest.fixture
def stream() -> io.StringIO:
    stream = io.StringIO()
    configure(LogSettings(level=LogLevel.DEBUG), stream)
    return stream


def test_json_off_a_terminal(stream: io.StringIO) -> None:
    structlog.get_logger("dispatcher.test").info("started", port=8080, of=["a", {"b": None}])
    (entry,) = entries(stream)
    assert list(entry) == ["timestamp", "level", "event", "logger", "port", "of"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", entry.pop("timestamp"))
    assert entry == {
        "level": "info",
        "event": "started",
        "logger": "dispatcher.test",
        "port": 8080,
        "of": ["a", {"b": None}],
    }


def test_readable_on_a_terminal() -> None:
    terminal = Terminal()
    configure(LogSettings(), terminal)
    structlog.get_logger("dispatcher.test").warning("subscriber fails", reason="status 503")
    text = written(terminal)
    assert "\x1b[" in text, "in colour"
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert re.match(r"\d\d:\d\d:\d\d \[warning *\] subscriber fails", plain)
    assert "reason=status 503" in plain or "reason='status 503'" in plain


@pytest.mark.parametrize(
    ("wanted", "stream", "is_json"),
    [
        (LogFormat.AUTO, io.StringIO, True),
        (LogFormat.AUTO, Terminal, False),
        (LogFormat.JSON, Terminal, True),
        (LogFormat.CONSOLE, io.StringIO, False),
    ],
)
def test_formats(wanted: LogFormat, stream: type[io.StringIO], is_json: bool) -> None:
    out = stream()
    configure(LogSettings(format=wanted), out)
    structlog.get_logger("x").info("hello")
    assert written(out).startswith("{") is is_json


def test_no_colours_in_a_file() -> None:
    out = io.StringIO()
    configure(LogSettings(format=LogFormat.CONSOLE), out)
    structlog.get_logger("x").info("hello", a=1)
    assert "\x1b" not in written(out)


def test_levels() -> None:
    out = io.StringIO()
    configure(LogSettings(level=LogLevel.WARNING), out)
    for logger in (structlog.get_logger("ours"), logging.getLogger("theirs")):
        logger.info("quiet")
        logger.warning("loud")
    assert [entry["logger"] for entry in entries(out)] == ["ours", "theirs"]


def test_libraries_go_the_same_way(stream: io.StringIO) -> None:
    logging.getLogger("aiohttp.server").error("Error handling %s", "request")
    (entry,) = entries(stream)
    assert (entry["logger"], entry["level"]) == ("aiohttp.server", "error")
    assert entry["event"] == "Error handling request"
    assert entry["timestamp"].endswith("Z")


@pytest.mark.parametrize("logger", [structlog.get_logger("ours"), logging.getLogger("theirs")])
def test_exceptions_are_one_line_with_their_traceback(
    stream: io.StringIO, logger: logging.Logger
) -> None:
    payload_of_caller = b"local variables are not shown"
    try:
        raise ValueError("broken", len(payload_of_caller))
    except ValueError:
        logger.exception("failed")
    (entry,) = entries(stream)
    assert "Traceback" in entry["exception"]
    assert "ValueError: ('broken'" in entry["exception"]
    assert "not shown" not in entry["exception"]


def test_a_terminal_does_not_show_local_variables() -> None:
    terminal = Terminal()
    configure(LogSettings(), terminal)
    payload = "payload of an event"
    try:
        raise ValueError(len(payload))
    except ValueError:
        structlog.get_logger("x").exception("failed")
    text = written(terminal)
    assert "ValueError" in text
    assert payload not in text.replace('payload = "payload of an event"', "")


@dataclass
class Event:
    body: bytes


class Named:
    def __str__(self) -> str:
        return "named"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (b"payload", "<7 bytes>"),
        (bytearray(b"payload"), "<7 bytes>"),
        (memoryview(b"payload"), "<7 bytes>"),
        ([b"payload", {"k": (b"payload",)}], ["<7 bytes>", {"k": ["<7 bytes>"]}]),
        (Event(b"payload"), "<Event>"),
        (Named(), "named"),
        (ValueError("x"), "ValueError: x"),
        (Path("/a/b"), "/a/b"),
        (2**80, "<a very large number>"),
        (True, True),
        (1.5, 1.5),
        (float("nan"), None),
        ("a\r\nb\x1b[31m\x00", "a\\r\\nb\\x1b[31m\\x00"),
        ("caf\u00e9 \u2713", "caf\u00e9 \u2713"),
        ("\ud800", "\\ud800"),
        ("x" * 5000, "x" * 4096 + "... (5000 characters)"),
        ([[[[[["deep"]]]]]], [[[["..."]]]]),
        ({1: "a"}, {"1": "a"}),
    ],
)
def test_values(stream: io.StringIO, value: object, shown: object) -> None:
    structlog.get_logger("x").info("event", value=value)
    (entry,) = entries(stream)
    assert entry["value"] == shown


def test_bytes_of_libraries_are_not_shown(stream: io.StringIO) -> None:
    logging.getLogger("x").warning("got %r and %s", b"payload", bytearray(b"payload"))
    logging.getLogger("x").warning("got %(it)s", {"it": b"payload"})
    assert "payload" not in written(stream)


@pytest.mark.parametrize("out", [io.StringIO, Terminal])
def test_passwords_in_urls_are_shown_nowhere(out: type[io.StringIO]) -> None:
    text = out()
    configure(LogSettings(), text)
    url = "nats://user:s3cret@host:4222"
    log = structlog.get_logger("x")
    log.info(url, url=url, of=[url, {"a": url}], error=ValueError(url))
    logging.getLogger("y").warning("cannot reach %s", url)
    try:
        raise ConnectionError(url)
    except ConnectionError:
        log.exception("failed")
    shown = written(text)
    assert "s3cret" not in shown
    assert "***@host:4222" in shown


class Broken:
    def __str__(self) -> str:
        raise RuntimeError("no text")


def test_what_cannot_be_shown_harms_nobody(stream: io.StringIO) -> None:
    (writer,) = (h for h in logging.getLogger().handlers if isinstance(h, LineWriter))
    structlog.get_logger("ours").info("first", value=Broken())
    writer.handle(record("%s", Broken()))
    writer.handle(record("%d", "no number"))
    structlog.get_logger("ours").info("last")
    first, second, third, last = written(stream).splitlines()
    assert json.loads(first)["value"] == "<Broken>"
    assert second == "log line of x cannot be shown: RuntimeError"
    assert third == "log line of x cannot be shown: TypeError"
    assert json.loads(last)["event"] == "last"


def record(text: str, *args: object) -> logging.LogRecord:
    return logging.LogRecord("x", logging.INFO, "", 0, text, args, None)


class Stuck(io.StringIO):
    """A stream behind which nobody reads."""

    def __init__(self) -> None:
        super().__init__()
        self.is_stuck = threading.Event()
        self.goes_on = threading.Event()

    def write(self, text: str) -> int:
        self.is_stuck.set()
        self.goes_on.wait(5)
        return super().write(text)


def test_a_stuck_terminal_holds_up_nobody() -> None:
    stream = Stuck()
    writer = LineWriter(stream, most_waiting=2)
    writer.handle(record("first"))
    assert stream.is_stuck.wait(5)
    for number in range(5):
        writer.handle(record(f"line {number}"))
    stream.goes_on.set()
    writer.close()
    assert stream.getvalue().splitlines() == [
        "first",
        "line 0",
        "3 log lines were dropped: nobody took them in time",
        "line 1",
    ]


def test_closing_does_not_wait_for_a_stuck_terminal() -> None:
    stream = Stuck()
    writer = LineWriter(stream, most_waiting=1, close_timeout=0.05)
    writer.handle(record("first"))
    assert stream.is_stuck.wait(5)
    writer.handle(record("second"))
    writer.close()
    stream.goes_on.set()


class Gone(io.StringIO):
    """A pipe whose reader is gone."""

    def write(self, text: str) -> int:
        raise BrokenPipeError


def test_a_reader_that_is_gone_is_no_error() -> None:
    writer = LineWriter(Gone())
    for _ in range(3):
        writer.handle(record("x"))
    writer.close()


def test_the_process_ends_with_all_lines_written() -> None:
    script = (
        "import sys, structlog; from natss.process.logs import LogSettings, configure;"
        "configure(LogSettings());"
        "[structlog.get_logger('x').info('line', number=i) for i in range(2000)];"
        "raise ValueError('nats://me:s3cret@h')"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    *lines, last = [json.loads(line) for line in ended.stderr.splitlines()]
    assert [line["number"] for line in lines] == list(range(2000))
    assert ended.returncode == 1
    assert last["level"] == "critical"
    assert last["event"] == "ended by an error"
    assert "ValueError: nats://***@h" in last["exception"]


def test_a_library_adds_no_fields(stream: io.StringIO) -> None:
    """What it puts into ``extra`` may be anything, as the headers of a request."""
    extra = {"channel": "orders", "reason": "b\n", "request_header": "secret", "payload": b"x"}
    logging.getLogger("library").warning("it happened", extra=extra)
    (entry,) = entries(stream)
    assert not extra.keys() & entry.keys()
