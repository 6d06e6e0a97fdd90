"""One NATS connection from its beginning to its end: it never reconnects, a new one is made.

What is sent in one turn of the event loop is one write; what arrives goes to the receiver of its
subject, answers go to their requests. ``down`` reports once that the link is down, and whatever
still waits for an answer fails.

It leaves the protocol, credentials, TLS and NATS pings to nats-py, leaves to ``connection.py`` when
to open which link, and knows nothing of the session.
"""

import asyncio
import contextlib
import itertools
import logging
import ssl
from collections.abc import Callable, Iterator
from urllib.parse import SplitResult, unquote

import nats.errors

from natss.nats_streaming.errors import (
    AuthenticationFailed,
    ConnectError,
    NatsUnreachable,
    NoResponders,
    NotConnected,
    ServerUnavailable,
)
from natss.nats_streaming.nats_client import NatsClient, Receiver
from natss.nats_streaming.options import NatsOptions, Secret, parse_server

logger = logging.getLogger(__name__)

NO_RESPONDERS = b"NATS/1.0 503"
PINGS_UNANSWERED = 2
CLOSE_SECONDS = 1.0
OTHER_NAME = (62, 64)
"""OpenSSL's codes for a certificate of another host name, or another address."""

LATE_READ_SECONDS = 0.02
"""After a stall of the event loop its timers run before it reads what arrived meanwhile. A request
that seems to have timed out checks once more after this time.
"""


class Link:
    """Use ``open_link``; ``send`` and ``request`` until ``down`` is resolved; then ``dispose``."""

    def __init__(
        self, server: SplitResult, options: NatsOptions, on_problem: Callable[[str], None]
    ) -> None:
        self.server = f"{server.scheme}://{server.hostname}:{server.port or 4222}"
        self.down: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.max_payload = 0
        self._loop = asyncio.get_running_loop()
        self._url = server
        self._options = options
        self._nats = NatsClient(must_encrypt=options.tls is not None or server.scheme == "tls")
        self._on_problem = on_problem
        self._connecting = True
        self._out: list[bytes] = []
        self._replies: dict[bytes, asyncio.Future[bytes]] = {}
        self._reply_prefix = b""
        self._tokens = itertools.count(1)

    @property
    def is_up(self) -> bool:
        return not self.down.done()

    def check(self) -> None:
        """Notice an end that nats-py did not report: with unsent data its close can hang."""
        if self._nats.is_closed:
            self._went_down("closed by the NATS client: " + _text(self._nats.last_error))

    async def receive(self, subject: str, receiver: Receiver) -> None:
        """Call ``receiver`` with what arrives on the subject. Raises NotConnected."""
        with self._translating():
            await self._nats.receive(subject, receiver)

    async def receive_replies(self, prefix: str) -> None:
        """Take answers to requests on ``<prefix>.<token>``."""
        self._reply_prefix = prefix.encode() + b"."
        await self.receive(f"{prefix}.*", self._on_reply)

    async def flush(self) -> None:
        """Wait until NATS answers; subscriptions then precede all that is sent from now on.

        Raises: NotConnected.
        """
        # nats-py's ping overtakes what it has yet to flush, and its answer comes after that.
        with self._translating():
            await self._nats.flush(timeout=CLOSE_SECONDS)  # type: ignore[arg-type] # wait_for takes a float

    def send(self, subject: bytes, reply: bytes, payload: bytes) -> None:
        """Send in this turn of the event loop. Both names and the size must be valid."""
        out = self._out
        if not out:
            self._loop.call_soon(self.write_out)
        out.append(b"PUB %b %b %d\r\n%b\r\n" % (subject, reply, len(payload), payload))

    def write_out(self) -> None:
        """Hand what was sent to the socket now."""
        if self._out and self.is_up:
            self._nats.write(b"".join(self._out))
        self._out.clear()

    async def request(self, subject: str, payload: bytes, timeout: float) -> bytes:
        """Return the answer to a request, which goes out after all that was sent before.

        Raises:
            NoResponders: nobody listens on the subject.
            ServerUnavailable: nobody answered in time (s); the outcome is unknown.
            NotConnected: the link is down, or went down meanwhile; the outcome is unknown.
        """
        if self.down.done():
            raise NotConnected(self.down.result())
        token = b"%d" % next(self._tokens)
        answer: asyncio.Future[bytes] = self._loop.create_future()
        self._replies[token] = answer
        try:
            self.send(subject.encode(), self._reply_prefix + token, payload)
            done, _ = await asyncio.wait((answer,), timeout=timeout)
            if not done:
                done, _ = await asyncio.wait((answer,), timeout=LATE_READ_SECONDS)
            if not done:
                raise ServerUnavailable(f"no answer on {subject} in {timeout:g} s")
            return answer.result()
        finally:
            self._replies.pop(token, None)
            if not answer.cancel() and not answer.cancelled():
                answer.exception()  # marks it as retrieved, also after the caller was cancelled

    def abort(self, reason: str) -> None:
        """Drop the connection at once, with what is not sent yet."""
        self._went_down(reason)
        self._nats.abort()

    async def close(self) -> None:
        """Send what is left and close; take no more than about two seconds."""
        if self.is_up:
            self.write_out()
            with contextlib.suppress(nats.errors.Error, OSError, TimeoutError):
                await asyncio.wait_for(self._nats.close(), CLOSE_SECONDS)
        await self.dispose()

    async def dispose(self) -> None:
        """Free what is held by a link that is down or no longer wanted."""
        self._went_down("closed by this side")
        await self._nats.end()

    async def connect(self, name: str) -> None:
        """Make the one attempt of this link; see ``open_link``."""
        url, options = self._url, self._options
        user, password, token = options.user, _now(options.password), _now(options.token)
        if url.username and url.password is not None:
            user, password = unquote(url.username), unquote(url.password)
        elif url.username:
            token = unquote(url.username)
        seed = None if options.nkey_seed_file is None else str(options.nkey_seed_file)
        host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname
        await self._nats.connect(
            servers=[f"{url.scheme}://{host}:{url.port or 4222}"],
            name=name,
            error_cb=self._on_error,
            closed_cb=self._on_closed,
            allow_reconnect=False,
            max_reconnect_attempts=-1,
            connect_timeout=options.connect_timeout,  # type: ignore[arg-type] # wait_for takes a float
            ping_interval=options.ping_interval,  # type: ignore[arg-type] # sleep takes a float
            max_outstanding_pings=PINGS_UNANSWERED,
            pending_size=0,
            tls=options.tls,
            tls_hostname=options.tls_hostname,
            user=user,
            password=password,
            token=token,
            user_credentials=options.credentials_file,
            nkeys_seed=seed,
        )
        self._connecting = False
        self.max_payload = self._nats.max_payload

    @contextlib.contextmanager
    def _translating(self) -> Iterator[None]:
        try:
            yield
        except (nats.errors.Error, OSError) as error:
            reason = f"NATS did not answer: {_text(error)}"
            self._went_down(reason)
            raise NotConnected(reason) from error

    async def _on_error(self, error: Exception) -> None:
        if self._connecting:
            raise error  # ends nats-py's attempts, which would otherwise go on for ever
        if isinstance(error, nats.errors.UnexpectedEOF):
            self._went_down("the NATS server closed the connection")
        else:
            self._on_problem(_text(error))

    async def _on_closed(self) -> None:
        self._went_down("closed by the NATS client: " + _text(self._nats.last_error))

    def _on_reply(self, subject: bytes, _reply: bytes, data: bytes, headers: bytes | None) -> None:
        answer = self._replies.get(subject[len(self._reply_prefix) :])
        if answer is None or answer.done():
            return
        if headers is not None and headers.startswith(NO_RESPONDERS):
            answer.set_exception(NoResponders("no NATS Streaming server listens"))
        else:
            answer.set_result(data)

    def _went_down(self, reason: str) -> None:
        if self.down.done():
            return
        self.down.set_result(reason)
        self._out.clear()
        for answer in self._replies.values():
            if not answer.done():
                answer.set_exception(NotConnected(reason))


async def open_link(
    server: str, options: NatsOptions, name: str, on_problem: Callable[[str], None]
) -> Link:
    """Connect to one NATS server, once.

    Args:
        server: a URL out of ``options.servers``.
        options: credentials, TLS and timeouts.
        name: shown in the monitoring of NATS.
        on_problem: called with what NATS complains about later, such as missing permissions.

    Raises:
        AuthenticationFailed, TlsNotOffered: as their docstrings say.
        NatsUnreachable: for any other reason, which is in its text.
    """
    link = Link(parse_server(server), options, on_problem)
    try:
        await link.connect(name)
    except BaseException as error:
        await link.dispose()
        if isinstance(error, ConnectError) or not isinstance(error, Exception):
            raise
        raise _connect_error(link.server, error) from error
    return link


def _connect_error(server: str, error: Exception) -> ConnectError:
    text = _text(error)
    if "authorization" in text.lower() or "authentication" in text.lower():
        return AuthenticationFailed(f"{server} refused the credentials: {text}")
    if isinstance(error, (nats.errors.Error, OSError, TimeoutError)) and not isinstance(
        error, FileNotFoundError | PermissionError
    ):
        kind = "TLS: " if isinstance(error, ssl.SSLError) else ""
        return NatsUnreachable((f"{server}: {kind}{text}",))
    detail = f": {error}" if isinstance(error, OSError) else ""
    return AuthenticationFailed(f"the credentials cannot be used: {type(error).__name__}{detail}")


def _now(secret: Secret | None) -> str | None:
    return secret() if callable(secret) else secret


def _text(error: BaseException | None) -> str:
    if error is None:
        return "no reason given"
    text = str(error) or type(error).__name__
    if isinstance(error, ssl.SSLCertVerificationError) and error.verify_code in OTHER_NAME:
        text += " (a Common Name does not count, only subjectAltName does)"
    return text
