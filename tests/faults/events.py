"""The events of a run: each follows from its id, so that its receiver can judge it."""

import zlib
from collections.abc import Mapping

LONGEST_BODY = 3000


def event_id(publisher: str, number: int, channel: str) -> str:
    return f"{publisher}.{number}.{channel}"


def channel_of(event: str) -> str:
    return event.rpartition(".")[2]


def headers(event: str) -> dict[str, str]:
    """Return the headers as they are posted, without Host."""
    return {
        "Content-Type": "application/octet-stream",
        "Ce-Specversion": "1.0",
        "Ce-Id": event,
        "Ce-Source": "/faults",
        "Ce-Type": f"faults.{channel_of(event)}",
    }


def body(event: str) -> bytes:
    """Return a body whose length follows from the id, from a few bytes to thousands."""
    line = f"{event}\n".encode()
    return line * (1 + zlib.crc32(line) % LONGEST_BODY // len(line))


def is_intact(received: Mapping[str, str], data: bytes) -> bool:
    """Return whether this is the event that its header ``Ce-Id`` says, as it was posted.

    Args:
        received: Headers; names in any case.
        data: The body.
    """
    event = received.get("Ce-Id", "")
    return data == body(event) and all(
        received.get(name) == value for name, value in headers(event).items()
    )
