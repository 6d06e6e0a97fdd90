"""The nats-py client with a short path in and out, and an end that cannot hang.

All that this package assumes about the inside of nats-py is in this file, and
``tests/natss/nats_streaming/test_nats_client.py`` pins it for the installed version:

- messages: ``_process_msg`` hands a message to a function at once, instead of through a queue and a
  task per subscription; that halves the CPU of a message received.
- writes: ``_transport.write`` instead of ``publish``, so that what is sent in one turn of the event
  loop is one write; together, the two take 13 us instead of 21 us for each whole event.
- end: ``_transport`` is aborted, since ``close`` waits for ever for a peer that is half gone, and
  its three tasks are awaited.
- TLS: nats-py speaks plain text to a server that does not ask for TLS, whatever the URL says;
  ``_connect_command``, which is made after the TLS handshake and holds the credentials, is refused.
  Each handshake is made with ``ssl_context``, which accepts a Common Name in place of a
  subjectAltName by itself.

What is left to ``link.py``: when to connect, and what an error means.
"""

import asyncio
import logging
import ssl
from collections.abc import Callable

from nats.aio.client import Client
from nats.aio.transport import TcpTransport

from natss.nats_streaming.errors import TlsNotOffered

logger = logging.getLogger(__name__)

END_SECONDS = 1.0
"""An aborted socket is closed in the next turn of the event loop; this bounds the wait if it is
not.
"""

Receiver = Callable[[bytes, bytes, bytes, bytes | None], None]
"""Called with subject, reply subject, data and raw headers of a message."""


class NatsClient(Client):
    """A nats-py client; its subscriptions are made by ``receive``.

    With ``must_encrypt``, ``connect`` raises TlsNotOffered before it sends credentials in plain
    text.
    """

    def __init__(self, *, must_encrypt: bool) -> None:
        super().__init__()
        self._must_encrypt = must_encrypt
        self._receivers: dict[int, Receiver] = {}

    @property
    def ssl_context(self) -> ssl.SSLContext:
        context = super().ssl_context
        context.hostname_checks_common_name = False  # RFC 9525, 2: as all NATS clients in Go do
        return context

    async def receive(self, subject: str, receiver: Receiver) -> None:
        """Call ``receiver`` for each message, in the order of arrival; it must not block."""
        # Given a future, which stays unused here, nats-py starts no task for the subscription.
        unused = asyncio.get_running_loop().create_future()
        subscription = await self.subscribe(subject, future=unused)
        self._receivers[subscription._id] = receiver  # noqa: SLF001 - see the module's text

    def write(self, commands: bytes) -> None:
        """Send complete NATS commands. They overtake what nats-py still has to flush."""
        if self._transport is not None:
            self._transport.write(commands)

    def abort(self) -> None:
        """Drop the socket now, with whatever is not sent yet."""
        writer = self._writer()
        if writer is not None:
            writer.transport.abort()

    async def end(self) -> None:
        """Drop the socket; wait until it is closed and no task of this client runs."""
        self.abort()
        tasks = [
            task
            for task in (self._reading_task, self._ping_interval_task, self._flusher_task)
            if task is not None
        ]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        writer = self._writer()
        if writer is not None:
            # Its waiter is shared: if a reading task of nats-py waited for the same and was
            # cancelled above, it has cancelled the waiter, which must not look like a cancellation
            # of this task.
            closed = asyncio.ensure_future(writer.wait_closed())
            await asyncio.wait((closed,), timeout=END_SECONDS)
            if not closed.cancel() and not closed.cancelled():
                closed.exception()  # marks it as retrieved

    def _connect_command(self) -> bytes:
        writer = self._writer()
        if self._must_encrypt and (writer is None or writer.get_extra_info("ssl_object") is None):
            raise TlsNotOffered("TLS is required, and the NATS server does not offer it")
        return super()._connect_command()

    async def _process_msg(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None
    ) -> None:
        receiver = self._receivers.get(sid)
        if receiver is None:
            return
        try:
            receiver(subject, reply, data, headers)
        except Exception:
            # Raised further, it would end nats-py's reading task without any report.
            logger.exception("a receiver of NATS messages failed")

    def _writer(self) -> asyncio.StreamWriter | None:
        transport = self._transport
        return transport._io_writer if isinstance(transport, TcpTransport) else None  # noqa: SLF001 - see the module's text
