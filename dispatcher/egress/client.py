"""HTTP out: one POST to one subscriber, answered or failed in time.

It tries once. ``dispatcher.delivery`` decides what an answer means and whether to retry. A redirect
that keeps method and body (307, 308) is followed; any other is treated like all other answers.
"""

import asyncio
import ssl

from dispatcher.egress.coding import TooLong, Undecodable, beginning, decode, is_coded
from dispatcher.egress.connect import connect
from dispatcher.egress.connection import (
    EgressConnection,
    EgressConnectionState,
    EgressError,
    FailureReason,
    Response,
    StaleConnection,
)
from dispatcher.egress.limits import EgressLimits
from dispatcher.egress.pool import Pools
from dispatcher.egress.proxies import Proxies
from dispatcher.egress.resolver import Resolve, Resolver
from dispatcher.egress.target import InvalidTarget, Target
from dispatcher.runtime.byte_budget import BudgetShare, ByteBudget
from dispatcher.version import VERSION

__all__ = ["Egress", "EgressError", "FailureReason", "InvalidTarget", "Response", "Target"]

_NO_PROXIES = Proxies()

_FOLLOWED = frozenset({307, 308})
_MOST_REDIRECTS = 3

_OF_EVERY_REQUEST = (
    b"User-Agent: natss-dispatcher/%b\r\nAccept-Encoding: identity\r\n" % VERSION.encode()
)
"""Some firewalls refuse clients without a User-Agent. An answer becomes an event, so no coding may
hide its content.
"""

_ONE_WRITE = 64 * 1024
"""A body up to this size is copied behind its head, so that one write sends both."""


class Egress:
    """Sends events to all subscribers; made and used inside one running loop.

    Args:
        limits: What subscribers may take.
        tls: For ``https``; by default certificates are verified against the system's authorities.
            It is changed: a Common Name does not count in place of a subjectAltName.
        resolve: Resolves names; by default the system's resolver.
        budget: For long bodies of answers; by default there is room for the longest of all
            connections.
        proxies: The proxies through which subscribers are called.
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
        self._tls.hostname_checks_common_name = False  # RFC 9525, 2: as in Go's client and browsers
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

    async def post(
        self,
        target: Target,
        head: bytes,
        body: bytes,
        timeout: float,
        *,
        wants_body: bool = True,
        memory: BudgetShare | None = None,
    ) -> Response:
        """Send one request and wait for its answer, whatever its status.

        Args:
            target: Where to send it.
            head: Header lines, each with its CRLF. Host, User-Agent, Accept-Encoding,
                Content-Length and what stands for the target's userinfo are added.
            body: The content.
            timeout: Seconds for everything: waiting for a connection, opening it, sending, and the
                answer to its last byte.
            wants_body: Whether the body of a successful answer is needed; else only its beginning
                is kept.
            memory: The share that a long answer takes its memory from while it is read; it waits
                for room if there is none. By default all targets of an origin share one.

        Raises:
            EgressError: there is no complete answer, or a redirect that is not followed. The
                request was sent once, and once more only if a kept-alive connection was closed.
        """
        deadline = self._loop.time() + timeout
        request = _Request(head, body, deadline, wants_body=wants_body, memory=memory)
        response = await self._post(target, request)
        if response.status in _FOLLOWED:
            response = await self._follow(target, request, response)
        if response.body and is_coded(response.headers):
            self._decode(response, wants_body=wants_body)
        return response

    async def close(self) -> None:
        """Close every connection; requests under way and later ones fail with EgressError."""
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        self._pools.close(_closed_error())
        self._resolver.close()
        await asyncio.sleep(0)  # transports close in the next turn of the loop

    async def _post(self, target: Target, request: "_Request") -> Response:
        """Send once, on an idle connection if there is one; again if that one was closed."""
        if self._proxies is not None:
            target = self._proxies.route(target)
        connection = self._pools.take_idle(target.origin, self._loop.time())
        if connection is None:
            connection = await self._connection(target, request.deadline)
        try:
            return await _exchange(connection, target, request)
        except StaleConnection:
            pass
        connection = await self._connection(target, request.deadline)
        try:
            return await _exchange(connection, target, request)
        except StaleConnection as error:
            raise EgressError(FailureReason.CLOSED, str(error)) from error

    async def _follow(self, target: Target, request: "_Request", response: Response) -> Response:
        """Follow a redirect; each address is checked against ``denied_networks`` again.

        A redirect without a Location is treated like any other answer.
        """
        for _ in range(_MOST_REDIRECTS):
            status = response.status
            location = next((v for n, v in response.headers if n.lower() == b"location"), None)
            if location is None:
                return response
            try:
                target = target.redirected(location)
            except InvalidTarget as error:
                text = f"redirected ({status}), which is not followed: {error}"
                raise EgressError(FailureReason.REDIRECT, text, status) from error
            response = await self._post(target, request)
            if response.status not in _FOLLOWED:
                return response
        text = f"redirected ({response.status}) more than {_MOST_REDIRECTS} times in a row"
        raise EgressError(FailureReason.REDIRECT, text, response.status)

    def _decode(self, response: Response, *, wants_body: bool) -> None:
        status, headers, body = response.status, response.headers, response.body
        if status >= 300 or not wants_body:
            response.body = beginning(headers, body, len(body))
            return
        most = self._limits.max_response_bytes
        try:
            response.headers, response.body = decode(headers, body, most)
        except TooLong:
            text = f"answered {status} with a body of more than {most} bytes, once decoded"
            raise EgressError(FailureReason.TOO_LARGE, text, status) from None
        except Undecodable as error:
            text = f"answered {status} with a body that cannot be decoded: {error}"
            raise EgressError(FailureReason.MALFORMED, text, status) from None

    async def _connection(self, target: Target, deadline: float) -> EgressConnection:
        """Return a connection that was opened for this request, or that another is done with."""
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
        if connection.state is EgressConnectionState.NEW:
            await self._open(target, connection, deadline)
        return connection

    async def _open(self, target: Target, connection: EgressConnection, deadline: float) -> None:
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


class _Request:
    """The request to a target, and to where that one redirects it."""

    __slots__ = ("body", "deadline", "head", "memory", "wants_body")

    def __init__(
        self,
        head: bytes,
        body: bytes,
        deadline: float,
        *,
        wants_body: bool,
        memory: BudgetShare | None,
    ) -> None:
        self.head = head
        self.body = body
        self.deadline = deadline
        self.wants_body = wants_body
        self.memory = memory


async def _exchange(connection: EgressConnection, target: Target, request: _Request) -> Response:
    """Send the request. Only the connection keeps the bytes, until they are sent."""
    body = request.body
    parts = (target.request_prefix, _OF_EVERY_REQUEST, request.head, len(body))
    if len(body) <= _ONE_WRITE:
        data, rest = b"%b%b%bContent-Length: %d\r\n\r\n%b" % (*parts, body), b""
    else:
        data, rest = b"%b%b%bContent-Length: %d\r\n\r\n" % parts, body
    answer = connection.exchange(
        data, rest, request.deadline, wants_body=request.wants_body, memory=request.memory
    )
    del data
    try:
        return await answer
    except asyncio.CancelledError:
        connection.forsake(answer)
        raise


def _closed_error() -> EgressError:
    return EgressError(FailureReason.CLOSED, "the HTTP client is closed")
