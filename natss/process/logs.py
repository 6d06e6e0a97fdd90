"""Logging of the process: JSON lines in a cluster, readable text on a terminal.

Whatever is logged, by the program or by a library, is cleaned the same way: no bytes (they may be
payloads), no user or password in a URL, no control characters, no text of unlimited length.
``log_writer.py`` writes the lines without holding up the event loop.
"""

import enum
import logging
import re
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TextIO

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from natss.process.log_writer import LineWriter


class LogFormat(enum.Enum):
    """How log lines are written."""

    AUTO = "auto"  # for people on a terminal, else JSON
    JSON = "json"
    CONSOLE = "console"


class LogLevel(enum.Enum):
    """The lowest severity that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"

    @property
    def number(self) -> int:
        return logging.getLevelNamesMapping()[self.value.upper()]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """What is logged, and how."""

    format: LogFormat = LogFormat.AUTO
    level: LogLevel = LogLevel.INFO


_MAX_TEXT = 4096
_MAX_DEPTH = 4
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def configure(
    settings: LogSettings, stream: TextIO | None = None, *, quiet: Collection[str] = ()
) -> None:
    """Send everything that is logged to a stream, by default stderr, until the process ends.

    Uncaught exceptions of the main thread are logged as well.

    Args:
        settings: What is logged, and how.
        stream: Where the lines go.
        quiet: Loggers of libraries that log nothing below WARNING.
    """
    stream = sys.stderr if stream is None else stream
    is_terminal = stream.isatty()
    for_people = settings.format is LogFormat.CONSOLE or (
        settings.format is LogFormat.AUTO and is_terminal
    )
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False, key="timestamp")
        if for_people
        else structlog.processors.TimeStamper(fmt="iso", utc=True, key="timestamp"),
        structlog.processors.format_exc_info,
        guard,
    ]
    renderer: Processor = _json
    if for_people:
        renderer = structlog.dev.ConsoleRenderer(
            colors=is_terminal, exception_formatter=structlog.dev.plain_traceback
        )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(settings.level.number),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    writer = LineWriter(stream)
    writer.addFilter(_without_bytes)
    writer.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(level=settings.level.number, handlers=[writer], force=True)
    for name in quiet:
        logging.getLogger(name).setLevel(max(settings.level.number, logging.WARNING))
    sys.excepthook = _log_uncaught


def guard(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Replace every value by one that may be shown; a processor of structlog."""
    shown: EventDict = {}
    for key, value in event.items():
        if key.startswith("_"):  # of structlog itself
            shown[key] = value
        elif key == "exception":  # lines of a traceback
            shown[key] = _encodable(str(value))
        else:
            shown[key] = _shown(value, _MAX_DEPTH)
    return shown


def _shown(value: object, depth: int) -> object:
    if isinstance(value, str):
        return _line(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    if isinstance(value, bool | float | None):
        return value
    if isinstance(value, int):
        return value if value.bit_length() < 64 else "<a very large number>"
    if isinstance(value, Mapping | list | tuple | set | frozenset):
        return _shown_inside(value, depth) if depth else "..."
    return _shown_object(value)


def _shown_inside(value: Collection[object], depth: int) -> object:
    if isinstance(value, Mapping):
        return {_line(str(key)): _shown(inner, depth - 1) for key, inner in value.items()}
    return [_shown(inner, depth - 1) for inner in value]


def _shown_object(value: object) -> str:
    """Show by ``__str__`` if the class has one; a ``repr`` may show anything, as dataclasses do."""
    name = type(value).__name__
    if type(value).__str__ is object.__str__:
        return f"<{name}>"
    try:
        text = str(value)
    except Exception:  # raised by a foreign class; a logged value must not harm its logger
        return f"<{name}>"
    return _line(f"{name}: {text}" if isinstance(value, BaseException) else text)


def _line(text: str) -> str:
    """Return one line of limited length that every encoding and terminal accepts."""
    if len(text) > _MAX_TEXT:
        text = f"{text[:_MAX_TEXT]}... ({len(text)} characters)"
    return _encodable(_CONTROL.sub(lambda match: ascii(match[0])[1:-1], text))


def _encodable(text: str) -> str:
    """Return the text without lone surrogates."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _json(_: WrappedLogger, __: str, event: EventDict) -> str:
    first = {key: event.pop(key, None) for key in ("timestamp", "level", "event", "logger")}
    return orjson.dumps({**first, **event}).decode("utf-8")


def _without_bytes(record: logging.LogRecord) -> bool:
    """Replace bytes among the arguments of a library's log record."""
    if isinstance(record.args, tuple):
        record.args = tuple(_no_bytes(value) for value in record.args)
    elif isinstance(record.args, Mapping):
        record.args = {key: _no_bytes(value) for key, value in record.args.items()}
    return True


def _no_bytes(value: object) -> object:
    return f"<{len(value)} bytes>" if isinstance(value, bytes | bytearray | memoryview) else value


def _log_uncaught(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)
        return
    exc_info = (kind, error, traceback)
    logging.getLogger(__name__).critical("ended by an error", exc_info=exc_info)
