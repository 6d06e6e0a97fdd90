"""HTTP out: one POST to one subscriber, answered or failed within its time.

It tries once. What an answer means and whether to try again is decided by ``delivery`` and
``attempts``; redirects are answers like any other.
"""

import asyncio
import ssl

from dispatcher.egress.connect import connect
from dispatcher.egress.connection import (
    Connection,
    EgressError,
    FailureReason,
    Response,
    StaleConnection,
    State,
)
from dispatcher.egress.pool import Pools
from dispatcher.egress.proxies import Proxies
from dispatcher.egress.resolver import Resolve, Resolver
from dispatcher.egress.target import InvalidTarget, Target
from dispatcher.flow import ByteBudget
from dispatcher.limits import EgressLimits

__all__ = ["Egress", "EgressError", "FailureReason", "InvalidTarget", "Response", "Target"]

_NO_PROXIES = Proxies()

_ONE_WRITE = 64 * 1024
"""Bytes of a body up to which it is copied behind its head, so that one write sends both."""


class Egress:
    """Sends events to all subscribers; made and used inside one running loop.

    Args:
        limits: What subscribers may take.
        tls: For ``https``; by default certificates are verified against those of the system. It is
            changed: a Common Name does not count in place of a subjectAltName.
        resolve: Names to addresses; by default the system's resolver.
        budget: Of long bodies of answers; by default there is room for the longest of all
            connections.
        proxies: By which subscribers are called.
    """

    def __init__(
        self,
        limits: EgressLimits,
        tls: ssl.SSLContext | None = None,
        *,
        resolve: Resolve | None = None,
        budget: ByteBudget | None = None,
        proxies: Proxies = _NO_PROXIES,
    ) -> None:
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._tls = tls or ssl.create_default_context()
        self._tls.hostname_checks_common_name = False  # RFC 9525, 2: as Go's client and browsers
        self._resolver = Resolver()
        self._resolve = resolve or self._resolver
        if budget is None:
            budget = ByteBudget(limits.max_connections * limits.max_response_bytes)
        self._proxies = proxies if proxies.are_used else None
        self._pools = Pools(limits, self._loop, budget)
        self._sweep: asyncio.TimerHandle | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"<Egress {'closed' if self._closed else 'open'}: {self._pools.summary}>"

    async def post(self, target: Target, head: bytes, body: bytes, timeout: float) -> Response:
        """Send one request and wait for its answer, whatever its status.

        Args:
            target: Where to.
            head: Header lines, each with its CRLF. Host, Content-Length and what stands for the
                target's userinfo are added.
            body: The content.
            timeout: Seconds for everything: waiting for a connection, opening it, sending, and the
                answer to its last byte.

        Raises:
            EgressError: there is no complete answer. It was tried once, and once more only where a
                kept-alive connection turned out to be closed.
        """
        now = self._loop.time()
        deadline = now + timeout
        if self._proxies is not None:
            target = self._proxies.route(target)
        connection = self._pools.take_idle(target.origin, now)
        if connection is None:
            connection = await self._connection(target, deadline)
        answer = _exchange(connection, target, head, body, deadline)
        try:
            return await answer
        except asyncio.CancelledError:
            connection.forsake(answer)
            raise
        except StaleConnection:
            pass
        return await self._post_again(target, head, body, deadline)

    async def close(self) -> None:
        """Close every connection; requests under way and later ones fail with EgressError."""
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        self._pools.close(_closed_error())
        self._resolver.close()
        await asyncio.sleep(0)  # transports close in the next round of the loop

    async def _post_again(
        self, target: Target, head: bytes, body: bytes, deadline: float
    ) -> Response:
        connection = await self._connection(target, deadline)
        answer = _exchange(connection, target, head, body, deadline)
        try:
            return await answer
        except asyncio.CancelledError:
            connection.forsake(answer)
            raise
        except StaleConnection as error:
            raise EgressError(FailureReason.CLOSED, str(error)) from error

    async def _connection(self, target: Target, deadline: float) -> Connection:
        """A connection that was opened for this request, or that another one has just done with."""
        if self._closed:
            raise _closed_error()
        if self._sweep is None:
            self._set_sweep()
        connection = self._pools.open(target.origin)
        if connection is None:
            try:
                async with asyncio.timeout_at(deadline):
                    connection = await self._pools.wait(target.origin)
            except TimeoutError as error:
                raise EgressError(
                    FailureReason.TIMEOUT, "timed out while all connections were in use"
                ) from error
        if connection.state is State.NEW:
            await self._open(target, connection, deadline)
        return connection

    async def _open(self, target: Target, connection: Connection, deadline: float) -> None:
        limit = self._limits.connect_timeout
        connect_deadline = self._loop.time() + limit
        try:
            async with asyncio.timeout_at(min(deadline, connect_deadline)):
                denied = self._limits.denied_networks
                await connect(target, connection, self._tls, self._resolve, denied)
        except TimeoutError as error:
            connection.abort()
            if deadline <= connect_deadline:
                raise EgressError(
                    FailureReason.TIMEOUT, f"timed out while connecting to {target.origin}"
                ) from error
            raise EgressError(
                FailureReason.CONNECT, f"no connection to {target.origin} within {limit:g} s"
            ) from error
        except BaseException:
            connection.abort()
            raise
        if self._closed:
            raise _closed_error()

    def _set_sweep(self) -> None:
        self._sweep = self._loop.call_later(self._pools.sweep_interval, self._close_idle)

    def _close_idle(self) -> None:
        self._sweep = None
        self._pools.close_idle()
        if self._pools.is_used:
            self._set_sweep()


def _exchange(
    connection: Connection, target: Target, head: bytes, body: bytes, deadline: float
) -> asyncio.Future[Response]:
    """Send a request. Nobody keeps it but the connection, until it is sent."""
    length = len(body)
    prefix = target.request_prefix
    if length <= _ONE_WRITE:
        request = b"%b%bContent-Length: %d\r\n\r\n%b" % (prefix, head, length, body)
        return connection.exchange(request, b"", deadline)
    request = b"%b%bContent-Length: %d\r\n\r\n" % (prefix, head, length)
    return connection.exchange(request, body, deadline)


def _closed_error() -> EgressError:
    return EgressError(FailureReason.CLOSED, "the HTTP client is closed")
