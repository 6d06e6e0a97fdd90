"""All subscriptions of a session: made, restored after an outage, ended.

Which link there is, and when to restore, is decided by ``connection.py``.
"""

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from nats_streaming import names, requests
from nats_streaming.errors import (
    DuplicateDurable,
    InvalidOptions,
    NatsStreamingError,
    NoResponders,
    NotConnected,
    RequestRefused,
    ServerUnavailable,
    SessionLost,
    SubscribeError,
    UnknownSubscription,
)
from nats_streaming.handling import Handler
from nats_streaming.link import Link
from nats_streaming.lost_answers import LostAnswers, key_of
from nats_streaming.options import ConnectionOptions, SubscriptionOptions
from nats_streaming.session import Session
from nats_streaming.subscription import Subscription, SubscriptionState

DUPLICATE_WAITS = (0.05, 0.2, 0.5)
"""Between attempts, in seconds, while the server still has the durable active: it may be handling
the request that was to close it."""

RETRY_FIRST = 0.5
RETRY_LAST = 30.0
"""How long, in seconds, a durable waits that could not be restored, doubling from first to last."""


class Subscriptions:
    """The subscribing half of a connection.

    Args:
        session: whose subscriptions these are.
        options: timeouts.
        on_lost: is told when the server says that it does not know the session.
        on_restored: is told of a durable that could not be restored, with the error, and with None
            when it could at last.
    """

    def __init__(
        self,
        session: Session,
        options: ConnectionOptions,
        on_lost: Callable[[SessionLost], None],
        on_restored: Callable[[Subscription, NatsStreamingError | None], None],
    ) -> None:
        self._session = session
        self._timeout = options.request_timeout
        self._concurrency = options.restore_concurrency
        self._on_lost = on_lost
        self._on_restored = on_restored
        self._link: Link | None = None
        self._make_error: Callable[[], SubscribeError] = lambda: NotConnected("not connected yet")
        self._prefix = session.inboxes.deliveries
        self._token_at = len(self._prefix) + 1
        self._tokens = itertools.count(1)
        self._by_token: dict[bytes, Subscription] = {}
        self._all: dict[Subscription, None] = {}
        self._lost_answers = LostAnswers(session, options.request_timeout)
        self._retries: dict[Subscription, asyncio.Task[None]] = {}

    def receive(self, subject: bytes, _reply: bytes, data: bytes, _headers: bytes | None) -> None:
        """Takes what arrives in any delivery inbox."""
        subscription = self._by_token.get(subject[self._token_at :])
        if subscription is not None:
            subscription.receive(data)

    def attach(self, link: Link) -> None:
        """There is a link; what is subscribed stays as it is until ``restore``."""
        self._link = link

    def detach(self, make_error: Callable[[], SubscribeError]) -> None:
        """There is no link: requests fail with such an error, acks are held."""
        self._link = None
        self._make_error = make_error
        self._cancel_retries()
        for subscription in self._all:
            subscription.set_stale()

    def close(self) -> None:
        """All are closed for this side; nothing is said to the server. Call ``detach`` before."""
        for subscription in self._all:
            subscription.set_closed()
        self._by_token.clear()

    async def finish(self, timeout: float, caller: asyncio.Task[Any] | None) -> None:
        """Waits for handlers that await, each at most ``timeout`` (s), and for its own tasks.

        The caller may be such a handler, and is not waited for.
        """
        await asyncio.gather(*(subscription.finish(timeout, caller) for subscription in self._all))
        await asyncio.gather(*self._retries.values(), return_exceptions=True)

    def doubt_acks(self) -> None:
        """A ping is about to be sent."""
        for subscription in self._all:
            subscription.doubt_acks()

    def confirm_acks(self) -> None:
        """It was answered: what was sent before has arrived."""
        for subscription in self._all:
            subscription.confirm_acks()

    def mute(self) -> None:
        """Drops what arrives from now on; acks are still sent."""
        for subscription in self._all:
            if subscription.is_open:
                subscription.set_closing()

    async def subscribe(
        self, subject: str, handler: Handler, options: SubscriptionOptions
    ) -> Subscription:
        """See Connection.subscribe."""
        names.check_channel(subject)
        subscription = Subscription(self, subject, handler, options)
        self._all[subscription] = None
        try:
            async with subscription.changing:
                await self._open(subscription, options)
        except BaseException:
            subscription.set_closed()
            self._all.pop(subscription, None)
            raise
        return subscription

    async def end(self, subscription: Subscription, *, forget: bool) -> None:
        """See Subscription.unsubscribe and Subscription.close."""
        async with subscription.changing:
            if subscription.is_closed:
                return
            link = self._need_link()
            before = subscription.state
            subscription.set_closing()
            try:
                await self._end(link, subscription, forget=forget)
            except BaseException:
                subscription.set_not_closing(before)
                raise
            subscription.set_closed()
            self._all.pop(subscription, None)
            self._by_token.pop(self._token_of(subscription.inbox), None)
            retry = self._retries.pop(subscription, None)
            if retry is not None:
                retry.cancel()

    async def reopen(self, subscription: Subscription, options: SubscriptionOptions) -> None:
        """See Subscription.reopen."""
        old = subscription.options
        same = replace(options, max_inflight=old.max_inflight, ack_wait=old.ack_wait)
        if old.durable is None or same != old:
            raise InvalidOptions("only max_inflight and ack_wait of a durable can be changed")
        try:
            await self._reopen(subscription, options)
        except BaseException as error:
            # Also when the caller was cancelled: a durable must not stay closed unnoticed.
            if self._link is not None and not subscription.is_closed:
                self._retry_later(subscription, error)
            raise

    async def restore(self, link: Link) -> None:
        """After an outage: opens every durable again, and sends the acks that were held.

        Returns when each was tried; what the server refused is tried again and again.
        """
        self._cancel_retries()
        durables = []
        for subscription in self._all:
            if subscription.options.durable is None:
                if subscription.state is SubscriptionState.STALE:
                    subscription.set_open(link, subscription.ack_inbox, subscription.options)
            elif subscription.state in (SubscriptionState.OPEN, SubscriptionState.STALE):
                durables.append(subscription)
        remaining = iter(durables)

        async def reopen_some() -> None:
            for subscription in remaining:
                await self._restore_one(subscription)

        async with asyncio.TaskGroup() as group:
            for number in range(min(self._concurrency, len(durables))):
                group.create_task(reopen_some(), name=f"reopen durables {number}")
        with contextlib.suppress(SubscribeError):
            await self._lost_answers.end_all(link)

    async def _restore_one(self, subscription: Subscription) -> None:
        try:
            await self._reopen(subscription, subscription.options)
        except (NotConnected, SessionLost):
            pass  # the connection knows, and restores again or not at all
        except NatsStreamingError as error:
            self._retry_later(subscription, error)

    def _retry_later(self, subscription: Subscription, error: BaseException) -> None:
        if isinstance(error, NatsStreamingError):
            self._on_restored(subscription, error)
        previous = self._retries.pop(subscription, None)
        if previous is not None:
            previous.cancel()
        task = asyncio.get_running_loop().create_task(
            self._retry(subscription), name=f"restore {subscription}"
        )
        self._retries[subscription] = task

    async def _retry(self, subscription: Subscription) -> None:
        wait = RETRY_FIRST
        while not subscription.is_closed:
            await asyncio.sleep(wait)
            wait = min(2 * wait, RETRY_LAST)
            try:
                await self._reopen(subscription, subscription.options)
            except (NotConnected, SessionLost):
                return
            except NatsStreamingError as error:
                self._on_restored(subscription, error)
            else:
                self._on_restored(subscription, None)
                return

    def _cancel_retries(self) -> None:
        for task in self._retries.values():
            task.cancel()
        self._retries.clear()

    async def _reopen(self, subscription: Subscription, options: SubscriptionOptions) -> None:
        async with subscription.changing:
            if subscription.is_closed:
                return
            link = self._need_link()
            subscription.set_stale()
            subscription.send_held_acks(link)
            old_inbox = subscription.inbox
            # What still comes there is not acked, so it comes again through the new one.
            self._by_token.pop(self._token_of(old_inbox), None)
            try:
                await self._end(link, subscription, forget=False)
            except RequestRefused:
                pass
            except BaseException:
                key = key_of(subscription.subject, options)
                self._lost_answers.remember(key, old_inbox)
                raise
            await self._open(subscription, options, old_inbox)

    async def _open(
        self, subscription: Subscription, options: SubscriptionOptions, old_inbox: str = ""
    ) -> None:
        link = self._need_link()
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

    async def _ask(
        self, link: Link, subscription: Subscription, options: SubscriptionOptions
    ) -> None:
        inbox = f"{self._prefix}.{next(self._tokens)}"
        token = self._token_of(inbox)
        subscription.set_opening(inbox)
        self._by_token[token] = subscription
        try:
            ack_inbox = await requests.subscribe(
                link, self._session, (subscription.subject, options), inbox, self._timeout
            )
            if link is not self._link:
                raise self._make_error()
        except BaseException as error:
            del self._by_token[token]
            subscription.set_stale()
            if not isinstance(error, (RequestRefused, NoResponders, SessionLost)):
                self._lost_answers.remember(key_of(subscription.subject, options), inbox)
            raise
        subscription.set_open(link, ack_inbox, options)

    async def _end(self, link: Link, subscription: Subscription, *, forget: bool) -> None:
        """Ends it on the server, if it is there; a durable to be forgotten is forgotten anyway."""
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
            # It is offline, and the server forgets only what is subscribed.
            inbox = f"{self._prefix}.{next(self._tokens)}"
            ack_inbox = await requests.subscribe(link, session, (subject, options), inbox, timeout)
            await requests.end_subscription(
                link, session, subject, ack_inbox, forget=True, timeout=timeout
            )

    def _token_of(self, inbox: str) -> bytes:
        return inbox[self._token_at :].encode()

    def _need_link(self) -> Link:
        if self._link is None:
            raise self._make_error()
        return self._link

    @contextlib.contextmanager
    def _telling_loss(self) -> Iterator[None]:
        try:
            yield
        except SessionLost as error:
            self._on_lost(error)
            raise
