"""Logging of the process: JSON lines in a cluster, readable on a terminal.

Everything goes through the standard library's loggers, as that of kopf does.
"""

import logging
import sys
from collections.abc import Mapping
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from contract.uris import redact

LEVELS: Mapping[str, Mapping[str, int]] = {
    # kopf tells at INFO what its handlers do; ours tell that by themselves.
    "kopf": {"debug": logging.DEBUG, "info": logging.WARNING},
    "kopf.objects": {"debug": logging.WARNING, "info": logging.WARNING},
    # A line for every probe.
    "aiohttp.access": {"debug": logging.WARNING, "info": logging.WARNING},
    "asyncio": {"debug": logging.WARNING, "info": logging.WARNING},
}


def configure(level: str, form: str, stream: TextIO | None = None) -> None:
    """Send everything that is logged to a stream, by default stderr.

    Args:
        level: The least severity: debug, info, warning or error.
        form: json, console, or auto, which is console on a terminal.
        stream: Where lines go.
    """
    stream = sys.stderr if stream is None else stream
    is_terminal = stream.isatty()
    for_people = form == "console" or (form == "auto" and is_terminal)
    timestamp = (
        structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False)
        if for_people
        else structlog.processors.TimeStamper(fmt="iso", utc=True)
    )
    renderer: Processor = (
        structlog.dev.ConsoleRenderer(
            colors=is_terminal, exception_formatter=structlog.dev.plain_traceback
        )
        if for_people
        else structlog.processors.JSONRenderer()
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                structlog.stdlib.add_log_level,
                structlog.stdlib.add_logger_name,
                timestamp,
            ],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                _redacted,
                renderer,
            ],
        )
    )
    number = logging.getLevelNamesMapping()[level.upper()]
    logging.basicConfig(level=number, handlers=[handler], force=True)
    for name, levels in LEVELS.items():
        logging.getLogger(name).setLevel(levels.get(level, number))


def _redacted(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """No user and no password of a URL, wherever it stands."""
    return {key: redact(value) if isinstance(value, str) else value for key, value in event.items()}
