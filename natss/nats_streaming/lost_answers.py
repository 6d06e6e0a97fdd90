"""Subscriptions that the server may have though nobody holds them: its answer was lost.

A durable of that kind is active and refuses its owner, a member of a group takes messages and acks
none. So they are ended by their delivery inbox (which servers know since 0.21) before the next
attempt for the same durable or group and, since a server may handle requests late, after it.
"""

import contextlib

from natss.nats_streaming import requests
from natss.nats_streaming.errors import RequestRefused
from natss.nats_streaming.link import Link
from natss.nats_streaming.options import SubscriptionOptions
from natss.nats_streaming.session import Session

MAX_INBOXES = 16
"""How many are remembered for one durable or group; of more, the latest."""

Key = tuple[str, str | None, str | None]


def key_of(channel: str, options: SubscriptionOptions) -> Key:
    """What must not be there twice."""
    return channel, options.durable, options.queue


class LostAnswers:
    """Those of one session.

    Args:
        session: whose subscriptions these are.
        timeout: of a request, in seconds.
    """

    def __init__(self, session: Session, timeout: float) -> None:
        self._session = session
        self._timeout = timeout
        self._inboxes: dict[Key, list[str]] = {}

    def __contains__(self, key: Key) -> bool:
        return key in self._inboxes

    def remember(self, key: Key, inbox: str) -> None:
        inboxes = self._inboxes.setdefault(key, [])
        inboxes.append(inbox)
        del inboxes[:-MAX_INBOXES]

    async def end(self, link: Link, key: Key) -> None:
        """Ends what may be there, and goes on remembering it: the server may be late.

        Raises:
            ServerUnavailable, NotConnected: no answer again.
            SessionLost: see there.
        """
        for inbox in tuple(self._inboxes.get(key, ())):
            with contextlib.suppress(RequestRefused):
                await requests.end_subscription(
                    link, self._session, key[0], inbox, forget=False, timeout=self._timeout
                )

    async def end_and_forget(self, link: Link, key: Key) -> None:
        """The same, when a later request was answered, so that none can be still to come."""
        await self.end(link, key)
        self._inboxes.pop(key, None)

    async def end_all(self, link: Link) -> None:
        """Ends what may be there of attempts that were not repeated."""
        for key in tuple(self._inboxes):
            await self.end_and_forget(link, key)
