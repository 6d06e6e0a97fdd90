"""Keeps a link: connects to whichever NATS server can be reached, again and again.

The same function makes the first link and every later one.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

from natss.nats_streaming.errors import ConnectError, NatsUnreachable, NotConnected
from natss.nats_streaming.link import Link, open_link
from natss.nats_streaming.options import ConnectionOptions
from natss.nats_streaming.session import Inboxes


async def open_any_link(
    options: ConnectionOptions, conn_id: str, on_problem: Callable[[str], None]
) -> Link:
    """Try each server once; the link takes answers to requests, and answers heartbeats.

    Raises:
        AuthenticationFailed, TlsNotOffered: one server said so, and no other could be used.
        NatsUnreachable: no server can be reached.
    """
    refusal: ConnectError | None = None
    reasons: list[str] = []
    for server in options.nats.servers:
        try:
            link = await open_link(
                server, options.nats, options.nats.name or options.client_id, on_problem
            )
        except NatsUnreachable as error:
            reasons += error.reasons
        except ConnectError as error:
            refusal = error
        else:
            try:
                await _listen(link, Inboxes.of(conn_id))
            except NotConnected as error:
                await link.dispose()
                reasons.append(f"{link.server}: {error}")
            except BaseException:
                await link.dispose()
                raise
            else:
                return link
    raise refusal or NatsUnreachable(tuple(reasons))


class LinkOwner(Protocol):
    """The user of the links that a LinkKeeper makes."""

    async def listen(self, link: Link) -> None:
        """Subscribe to everything that the owner needs. May raise NotConnected."""

    def link_up(self, link: Link) -> None: ...

    def link_down(self, reason: str) -> None: ...

    def tell_problem(self, text: str, error: ConnectError | None = None) -> None: ...


class LinkKeeper:
    """Replaces a link that went down, until it is told to stop; ``run`` is to be a task.

    Args:
        options: servers, and how long to wait between rounds of attempts.
        conn_id: that of the session.
        owner: receives the links, and the reason while there is none.
    """

    def __init__(self, options: ConnectionOptions, conn_id: str, owner: LinkOwner) -> None:
        self._options = options
        self._conn_id = conn_id
        self._owner = owner
        self._stopped = False
        self._latest: Link | None = None

    async def take(self, link: Link) -> None:
        """Use this link from now on. Raises NotConnected."""
        await self._owner.listen(link)
        if self._stopped:
            raise NotConnected("no link is wanted any more")
        self._latest = link
        self._owner.link_up(link)

    async def run(self) -> None:
        """Replace links until ``stop`` is called or the task is cancelled."""
        while self._latest is not None and not self._stopped:
            link = self._latest
            await asyncio.wait((link.down,))
            self._owner.link_down(link.down.result())
            await link.dispose()
            await self._replace()

    def stop(self) -> None:
        """Take no other link. Cancelling ``run`` is not enough: nats-py may swallow it."""
        self._stopped = True

    async def close(self) -> None:
        """Close the link in use, after ``run`` has ended; what was sent goes out first."""
        if self._latest is not None:
            await self._latest.close()

    async def _replace(self) -> None:
        told = ""
        while not self._stopped:
            try:
                link = await open_any_link(self._options, self._conn_id, self._owner.tell_problem)
                try:
                    await self.take(link)
                except BaseException:
                    await link.dispose()
                    raise
                return
            except ConnectError as error:  # one report for each failed attempt
                told = str(error)
                self._owner.tell_problem(told, error)
            except NotConnected as error:
                if str(error) != told:
                    told = str(error)
                    self._owner.tell_problem(told)
            await asyncio.sleep(self._options.nats.reconnect_wait)


async def _listen(link: Link, inboxes: Inboxes) -> None:
    def answer_heartbeat(_subject: bytes, reply: bytes, _data: bytes, _hdr: bytes | None) -> None:
        if reply:
            link.send(reply, b"", b"")

    await link.receive_replies(inboxes.replies)
    await link.receive(inboxes.heartbeat, answer_heartbeat)
    await link.flush()
