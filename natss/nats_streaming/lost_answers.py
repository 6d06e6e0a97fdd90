"""Subscriptions that the server may have though nobody holds them: its answer was lost.

Such a durable is active and refuses its owner; such a member of a group takes messages and acks
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
"""How many inboxes are remembered for one durable or group; of more, the latest."""

Key = tuple[str, str | None, str | None]


def key_of(channel: str, options: SubscriptionOptions) -> Key:
    """Return the key of a subscription that must not exist twice."""
    return channel, options.durable, options.queue


class LostAnswers:
    """The subscriptions of one session whose answers were lost.

    Args:
        session: whose subscriptions these are.
        timeout: for one request, in seconds.
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
        """End what may exist, and go on remembering it: the server may be late.

        Raises:
            ServerUnavailable, NotConnected: no answer again.
            SessionLost: the server does not know the session.
        """
        for inbox in tuple(self._inboxes.get(key, ())):
            with contextlib.suppress(RequestRefused):
                await requests.end_subscription(
                    link, self._session, key[0], inbox, forget=False, timeout=self._timeout
                )

    async def end_and_forget(self, link: Link, key: Key) -> None:
        """End what may exist and forget it, once a later request was answered: none can follow."""
        await self.end(link, key)
        self._inboxes.pop(key, None)

    async def end_all(self, link: Link) -> None:
        """End what may exist from attempts that were not repeated."""
        for key in tuple(self._inboxes):
            await self.end_and_forget(link, key)
