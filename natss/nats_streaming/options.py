"""Options of a user, chosen once and frozen: how to reach NATS, a session, a subscription.

Nothing here does I/O; wrong values raise InvalidOptions, or the error of ``names.py``, at once.
"""

import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import SplitResult, urlsplit

from natss.nats_streaming import names
from natss.nats_streaming.errors import InvalidOptions
from natss.nats_streaming.protocol_pb2 import StartPosition

MIB = 1024 * 1024
INT32_MAX = 2**31 - 1


def _positive(**values: float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise InvalidOptions(f"{name} is {value}: it must be more than 0")


Secret = str | Callable[[], str]
"""A secret, or a function that returns it: called at each connect, so that it can be rotated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NatsOptions:
    """How to reach NATS. Times are in seconds."""

    servers: tuple[str, ...] = field(default=("nats://127.0.0.1:4222",), repr=False)
    """Tried in turn; ``nats://`` or ``tls://``, with ``user:password@`` or ``token@`` if need be.
    Servers that a NATS cluster announces by itself are not used."""

    name: str = ""
    """Shown in the monitoring of NATS; the client id if empty."""

    user: str | None = None
    password: Secret | None = field(default=None, repr=False)
    token: Secret | None = field(default=None, repr=False)

    credentials_file: Path | None = None
    """A ``.creds`` file (JWT and seed), read at each connect, so that it can be rotated."""

    nkey_seed_file: Path | None = None

    tls: ssl.SSLContext | None = None
    """The trusted authorities and the client's certificate. With it, or with ``tls://``, a server
    that does not offer TLS is refused. It is changed: a Common Name does not count in place of a
    subjectAltName.
    """

    tls_hostname: str | None = None
    """The name in the server's certificate, if it differs from that in the URL."""

    connect_timeout: float = 2.0
    """For each of: TCP, TLS, the first answer."""

    reconnect_wait: float = 0.5
    """Between two rounds of attempts while no server can be reached; they never stop."""

    ping_interval: float = 3.0
    """Between NATS pings. After three without an answer the connection is given up, so that a
    half-open one is noticed in about ten seconds."""

    def __post_init__(self) -> None:
        if not self.servers:
            raise InvalidOptions("no NATS server is given")
        for server in self.servers:
            parse_server(server)
        _positive(
            connect_timeout=self.connect_timeout,
            reconnect_wait=self.reconnect_wait,
            ping_interval=self.ping_interval,
        )
        if (self.user is None) != (self.password is None):
            raise InvalidOptions("a user needs a password, and a password a user")
        ways = (self.user, self.token, self.credentials_file, self.nkey_seed_file)
        if sum(way is not None for way in ways) > 1:
            raise InvalidOptions(
                "more than one of user, token, credentials_file and nkey_seed_file is given"
            )


def parse_server(server: str) -> SplitResult:
    """Return the parts of a NATS URL; a bare ``host:port`` is accepted as well.

    Raises:
        InvalidOptions: another scheme, no host, or an invalid port. The text does not quote the
            URL, since it may hold a password.
    """
    try:
        url = urlsplit(server if "://" in server else f"nats://{server}")
        host, _ = url.hostname, url.port
    except ValueError:  # its text may quote a part of the password
        raise InvalidOptions(
            "a NATS server's URL cannot be read: it is nats://user:password@host:port, with what a"
            " URL does not allow percent-encoded"
        ) from None
    if url.scheme not in ("nats", "tls"):
        raise InvalidOptions(f"scheme {url.scheme!r} in a NATS server's URL: not nats or tls")
    if not host:
        raise InvalidOptions("a NATS server's URL names no host")
    return url


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionOptions:
    """A session with NATS Streaming. Times are in seconds."""

    cluster_id: str
    client_id: str
    """One session at a time holds it. Durables belong to it."""

    nats: NatsOptions = field(default_factory=NatsOptions)

    request_timeout: float = 2.0
    """For the answer to connect, subscribe, unsubscribe, close and ping. If a client that went
    silent holds the client id, the server needs 0.5 s to find out.
    """

    publish_timeout: float = 10.0
    """After this time a message that the server did not answer counts as not stored."""

    max_publishes: int = 16384
    """How many messages may wait for the server's answer."""

    max_publish_bytes: int = 64 * MIB
    """How many bytes of messages may wait for it; one message is always let through."""

    ping_interval: float = 2.0
    """Between pings of the session. A lost session is noticed within it."""

    probe_interval: float = 10.0
    """How often each subscription is checked on the server: after a crash it may have forgotten a
    durable that was opened shortly before, and yet answer pings. Costs a message of about 100 bytes
    per subscription.
    """

    restore_concurrency: int = 64
    """How many durables are opened again at a time after a reconnect."""

    def __post_init__(self) -> None:
        names.check_cluster_id(self.cluster_id)
        names.check_client_id(self.client_id)
        _positive(
            request_timeout=self.request_timeout,
            publish_timeout=self.publish_timeout,
            max_publishes=self.max_publishes,
            max_publish_bytes=self.max_publish_bytes,
            ping_interval=self.ping_interval,
            probe_interval=self.probe_interval,
            restore_concurrency=self.restore_concurrency,
        )


@dataclass(frozen=True, slots=True)
class StartAt:
    """Start position of a new subscription. An existing durable or group continues where it was."""

    position: StartPosition
    start_sequence: int = 0
    seconds_ago: float = 0.0
    epoch: float | None = None

    @classmethod
    def new_only(cls) -> Self:
        """Start with what is published from now on."""
        return cls(StartPosition.NEW_ONLY)

    @classmethod
    def first(cls) -> Self:
        """Start with the oldest message that is kept."""
        return cls(StartPosition.FIRST)

    @classmethod
    def last_received(cls) -> Self:
        """Start with the newest message that is stored."""
        return cls(StartPosition.LAST_RECEIVED)

    @classmethod
    def sequence(cls, number: int) -> Self:
        """Start with this sequence; the oldest if it is gone, new ones if it is still to come."""
        if not 0 <= number < 2**64:
            raise InvalidOptions(f"a sequence cannot be {number}")
        return cls(StartPosition.SEQUENCE_START, start_sequence=number)

    @classmethod
    def time_ago(cls, seconds: float) -> Self:
        """Start with the first message stored in the last ``seconds``."""
        if not 0 <= seconds < 2**33:
            raise InvalidOptions(f"a time ago cannot be {seconds} s")
        return cls(StartPosition.TIME_DELTA_START, seconds_ago=seconds)

    @classmethod
    def time(cls, epoch: float) -> Self:
        """Start with the first message stored at or after a Unix time, in seconds."""
        if not 0 <= epoch < 2**33:
            raise InvalidOptions(f"a start time cannot be {epoch}")
        return cls(StartPosition.TIME_DELTA_START, epoch=epoch)

    def delta_nanoseconds(self) -> int:
        """Return how long ago it is now, in the form that the server expects."""
        seconds = self.seconds_ago if self.epoch is None else time.time() - self.epoch
        return max(0, round(seconds * 1e9))


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionOptions:
    """How the server delivers to a subscription."""

    durable: str | None = None
    """The name under which the server keeps the position while the subscriber is away; with
    ``queue``, that of a durable group. A plain durable belongs to its client id.
    """

    queue: str | None = None
    """The group that shares the messages: each goes to one member."""

    start: StartAt = field(default_factory=StartAt.new_only)

    max_inflight: int = 64
    """How many messages the server sends without an ack. Redelivery does not count towards it."""

    ack_wait: int = 30
    """Ack wait: after so many whole seconds a message that is not acked is sent again."""

    manual_ack: bool = False
    """False: a message is acked when the handler returned without an exception."""

    def __post_init__(self) -> None:
        names.check_durable(self.durable, self.queue)
        if not 1 <= self.max_inflight <= INT32_MAX:
            raise InvalidOptions(f"max_inflight is {self.max_inflight}: it must be at least 1")
        if not isinstance(self.ack_wait, int) or not 1 <= self.ack_wait <= INT32_MAX:
            raise InvalidOptions(
                f"ack_wait is {self.ack_wait}: it must be a whole number of seconds, at least 1"
            )
