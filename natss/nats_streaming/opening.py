"""Opens, reopens and ends one subscription on the server, and routes its messages to it.

All deliveries of a session arrive over one NATS subscription and are told apart by the last token
of their inbox, so that thousands of subscriptions cost one task of nats-py.

``subscribing.py`` decides which subscriptions there are, and when one is to be opened again.
"""

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Iterator

from natss.nats_streaming import requests
from natss.nats_streaming.errors import (
    DuplicateDurable,
    NoResponders,
    NotConnected,
    RequestRefused,
    ServerUnavailable,
    SessionLost,
    SubscribeError,
    UnknownSubscription,
)
from natss.nats_streaming.link import Link
from natss.nats_streaming.lost_answers import LostAnswers, key_of
from natss.nats_streaming.options import ConnectionOptions, SubscriptionOptions
from natss.nats_streaming.session import Session
from natss.nats_streaming.subscription import Subscription

DUPLICATE_WAITS = (0.05, 0.2, 0.5)
"""Between attempts, in seconds, while the server still has the durable active: it may be handling
the request that was to close it."""

MakeError = Callable[[], SubscribeError]


class Opener:
    """Opens and ends the subscriptions of one session, over the link that it is given.

    Args:
        session: whose subscriptions these are.
        options: the timeouts.
        on_lost: called when the server reports that it does not know the session.
    """

    def __init__(
        self,
        session: Session,
        options: ConnectionOptions,
        on_lost: Callable[[SessionLost], None],
    ) -> None:
        self._session = session
        self._timeout = options.request_timeout
        self._on_lost = on_lost
        self._link: Link | None = None
        self._make_error: MakeError = lambda: NotConnected("not connected yet")
        self._prefix = session.inboxes.deliveries
        self._token_at = len(self._prefix) + 1
        self._tokens = itertools.count(1)
        self._by_token: dict[bytes, Subscription] = {}
        self._lost_answers = LostAnswers(session, options.request_timeout)

    @property
    def link(self) -> Link | None:
        return self._link

    def attach(self, link: Link) -> None:
        self._link = link

    def detach(self, make_error: MakeError) -> None:
        """Make requests fail with such an error until there is a link again."""
        self._link = None
        self._make_error = make_error

    def receive(self, subject: bytes, _reply: bytes, data: bytes, _headers: bytes | None) -> None:
        """Take what arrives in any delivery inbox."""
        subscription = self._by_token.get(subject[self._token_at :])
        if subscription is not None:
            subscription.receive(data)

    def find(self, token: bytes) -> Subscription | None:
        """Return the subscription with this token at the end of its inbox."""
        return self._by_token.get(token)

    def token_of(self, inbox: str) -> bytes:
        return inbox[self._token_at :].encode()

    def drop(self, subscription: Subscription) -> None:
        """Ignore what still arrives in its inbox."""
        self._by_token.pop(self.token_of(subscription.inbox), None)

    def need_link(self) -> Link:
        """Return the link; raise NotConnected, or SessionLost if that is why there is none."""
        if self._link is None:
            raise self._make_error()
        return self._link

    async def open(
        self, subscription: Subscription, options: SubscriptionOptions, old_inbox: str = ""
    ) -> None:
        """Ask the server for a subscription, with a new inbox.

        ``old_inbox`` is where its messages went before, if the server may still have that.

        Raises:
            SubscribeError: as the server said; the next attempt ends what it may have made.
        """
        link = self.need_link()
        key = key_of(subscription.subject, options)
        waits = iter(DUPLICATE_WAITS)
        with self._telling_loss():
            while True:
                await self._lost_answers.end(link, key)
                try:
                    await self._ask(link, subscription, options)
                    break
                except DuplicateDurable:
                    if old_inbox:
                        self._lost_answers.remember(key, old_inbox)
                        old_inbox = ""
                    wait = next(waits, None)
                    if wait is None or key not in self._lost_answers:
                        raise
                    await asyncio.sleep(wait)
            with contextlib.suppress(ServerUnavailable, NotConnected):
                await self._lost_answers.end_and_forget(link, key)

    async def reopen(self, subscription: Subscription, options: SubscriptionOptions) -> None:
        """End it on the server, if it is there, and open it again.

        What is not acked comes again, all at once. Raises SubscribeError.
        """
        async with subscription.changing:
            if subscription.is_closed:
                return
            link = self.need_link()
            subscription.set_stale()
            subscription.send_held_acks(link)
            old_inbox = subscription.inbox
            # What still arrives there is not acked, so it comes again through the new inbox.
            self.drop(subscription)
            try:
                await self.end(subscription, forget=False)
            except RequestRefused:
                pass
            except BaseException:
                self._lost_answers.remember(key_of(subscription.subject, options), old_inbox)
                raise
            await self.open(subscription, options, old_inbox)

    async def end(self, subscription: Subscription, *, forget: bool) -> None:
        """End it on the server, if it is there; with ``forget``, forget an offline durable too.

        Raises: SubscribeError.
        """
        link = self.need_link()
        session, timeout = self._session, self._timeout
        subject, options = subscription.subject, subscription.options
        with self._telling_loss():
            try:
                await requests.end_subscription(
                    link, session, subject, subscription.ack_inbox, forget=forget, timeout=timeout
                )
                return
            except UnknownSubscription:
                if not forget or options.durable is None:
                    return
            # The durable is offline, and the server forgets only what is subscribed.
            inbox = f"{self._prefix}.{next(self._tokens)}"
            ack_inbox = await requests.subscribe(link, session, (subject, options), inbox, timeout)
            await requests.end_subscription(
                link, session, subject, ack_inbox, forget=True, timeout=timeout
            )

    async def end_lost(self, link: Link) -> None:
        """End what the server may have made of requests whose answers were lost."""
        with contextlib.suppress(SubscribeError), self._telling_loss():
            await self._lost_answers.end_all(link)

    async def _ask(
        self, link: Link, subscription: Subscription, options: SubscriptionOptions
    ) -> None:
        inbox = f"{self._prefix}.{next(self._tokens)}"
        token = self.token_of(inbox)
        subscription.set_opening(inbox)
        self._by_token[token] = subscription
        try:
            ack_inbox = await requests.subscribe(
                link, self._session, (subscription.subject, options), inbox, self._timeout
            )
            if link is not self._link:
                raise self._make_error()
        except BaseException as error:
            self._by_token.pop(token, None)  # the connection may have dropped it meanwhile
            subscription.set_stale()
            if not isinstance(error, (RequestRefused, NoResponders, SessionLost)):
                self._lost_answers.remember(key_of(subscription.subject, options), inbox)
            raise
        subscription.set_open(link, ack_inbox, options)

    @contextlib.contextmanager
    def _telling_loss(self) -> Iterator[None]:
        try:
            yield
        except SessionLost as error:
            self._on_lost(error)
            raise
