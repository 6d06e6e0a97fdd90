"""Bounds of the HTTP server: what one publisher may take from the process.

Values only; the settings fill them. Times are in seconds, sizes in bytes.
"""

from dataclasses import dataclass

_KIB = 1024
_MIB = 1024 * _KIB


@dataclass(frozen=True, slots=True, kw_only=True)
class IngressLimits:
    """What publishers may take."""

    max_connections: int = 10_000
    """Connections open at once; for a further one, the one that has been idle longest is closed. An
    idle connection costs a few KiB, so this many are tens of MiB.
    """

    max_connections_per_address: int = 9_000
    """Connections of one address. Where everything comes from one proxy, that is the only address,
    so it gets nearly all of ``max_connections``; the rest keeps one address from locking out all
    others.
    """

    max_header_bytes: int = 64 * _KIB
    """Request line and headers of one request together, in bytes; more is answered 431. Go's
    server allows 1 MiB, but all headers are stored with the event, and real ones stay below
    8 KiB."""

    header_timeout: float = 10.0
    """Seconds from the first byte of a request to the end of its headers, and from accepting a
    connection to its first byte; then 408 or a silent close. Go's channel receiver has a read
    timeout of 10 s."""

    body_timeout: float = 30.0
    """Seconds without a byte of a body that is not complete; then 408. It counts progress, so that
    a large event over a slow line is not cut off. A body that takes longer in total has to arrive
    with 500 bytes a second.
    """

    keepalive_timeout: float = 75.0
    """Seconds that a connection may idle between two requests before it is closed. Longer than the
    60 s of common proxies, so that the proxy closes first and no request meets a closing
    connection."""

    max_body_bytes: int = 8 * _MIB
    """The largest body in bytes that is read at all; more is answered 413. The exact limit is the
    NATS server's ``max_payload`` (1 MiB by default), which is known only while connected. 8 MiB is
    the most that NATS recommends for ``max_payload``.
    """

    max_buffered_bytes: int = 256 * _MIB
    """Bytes of all events in memory at once. A quarter is for events that were sent to NATS
    Streaming and are not confirmed: a slow server must not take the room for reading. The rest is
    for events that are being read or wait for their turn. A request that finds no room is answered
    503, so that memory stays flat.
    """

    max_pipelined: int = 16
    """Requests of one connection that may wait for their answers; reading pauses at the limit.
    Answers keep the order of the requests, so more would only queue."""

    answer_timeout: float = 10.0
    """Seconds from a complete request to its answer at most: 503 if the event is not stored by
    then. Publishers such as Kyma expect 5xx within 10 s.
    """

    drain_timeout: float = 25.0
    """Seconds that stopping waits for requests and deliveries that have begun. Kubernetes kills a
    pod 30 s after SIGTERM unless told otherwise; the rest is for closing the sessions."""

    @property
    def max_unconfirmed_bytes(self) -> int:
        """The part of ``max_buffered_bytes`` for what NATS Streaming has not confirmed."""
        return self.max_buffered_bytes // 4

    @property
    def max_incoming_bytes(self) -> int:
        """The part of ``max_buffered_bytes`` for what is being read or waits for its turn."""
        return self.max_buffered_bytes - self.max_unconfirmed_bytes
