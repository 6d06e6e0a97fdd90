"""Rules of the server for the names that a client chooses. Pure.

A name is checked before it is sent: the server's answer to a wrong one can also mean that the
session is gone, and NATS may end the connection because of it.
"""

import re

from natss.nats_streaming.errors import InvalidChannelName, InvalidClientId, InvalidOptions

MAX_CHANNEL_BYTES = 1024
"""NATS ends a connection that sends a control line above 4096 bytes. The channel is in it with a
prefix and an inbox."""

_CLIENT_ID = re.compile(r"[A-Za-z0-9_-]+")
_FORBIDDEN = re.compile(r"[*>/\s\x00-\x1f\x7f]")


def check_channel(name: str) -> None:
    """Raise InvalidChannelName if a channel cannot have this name.

    Only the server knows whether one exists whose name differs in case only.
    """
    if not name:
        raise InvalidChannelName(name, "it is empty")
    found = _FORBIDDEN.search(name)
    if found:
        raise InvalidChannelName(name, f"{found.group()!r} is not allowed")
    if "" in name.split("."):
        raise InvalidChannelName(name, "a part between dots is empty")
    try:
        size = len(name.encode())
    except UnicodeEncodeError as error:
        raise InvalidChannelName(name, "it cannot be written in UTF-8") from error
    if size > MAX_CHANNEL_BYTES:
        raise InvalidChannelName(name, f"{size} bytes are more than {MAX_CHANNEL_BYTES}")


def check_client_id(client_id: str) -> None:
    """Raise InvalidClientId unless it is made of ASCII letters, digits, ``-`` and ``_``."""
    if not _CLIENT_ID.fullmatch(client_id):
        raise InvalidClientId(
            f"invalid client id {client_id[:80]!r}: only ASCII letters, digits, '-' and '_'"
        )


def check_cluster_id(cluster_id: str) -> None:
    """Raise InvalidOptions unless it can be the end of a NATS subject."""
    if not cluster_id or re.search(r"[*>\s]", cluster_id) or "" in cluster_id.split("."):
        raise InvalidOptions(f"invalid cluster id {cluster_id[:80]!r}")


def check_durable(durable: str | None, queue: str | None) -> None:
    """Raise InvalidOptions if a durable or a queue group cannot have this name."""
    for what, name in (("durable", durable), ("queue", queue)):
        if name is not None and not name:
            raise InvalidOptions(f"an empty name for {what}: leave it out, or give one")
    if durable and queue and ":" in durable:
        raise InvalidOptions(f"invalid durable {durable[:80]!r}: no ':' with a queue group")
