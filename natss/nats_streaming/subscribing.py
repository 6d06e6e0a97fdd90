"""All subscriptions of a session: made, restored after an outage, ended.

``connection.py`` decides which link is used, and when to restore all subscriptions. This module
finds out that a single one is dead on the server: a durable can be, while pings and publishes
succeed.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from natss.backoff import Backoff
from natss.nats_streaming import names
from natss.nats_streaming.errors import (
    DuplicateDurable,
    InvalidOptions,
    NatsStreamingError,
    NotConnected,
    SessionLost,
    SubscribeError,
    UnknownSubscription,
)
from natss.nats_streaming.handling import Handler
from natss.nats_streaming.link import NO_RESPONDERS, Link
from natss.nats_streaming.lost_answers import Key, key_of
from natss.nats_streaming.opening import Opener
from natss.nats_streaming.options import ConnectionOptions, SubscriptionOptions
from natss.nats_streaming.session import Session
from natss.nats_streaming.subscription import Subscription, SubscriptionState

logger = logging.getLogger(__name__)

RETRY_FIRST = 0.5
RETRY_LAST = 30.0
"""How long, in seconds, a durable waits that could not be restored; doubles from first to last."""

DUPLICATES_BEFORE_LOSS = 3
"""After so many refusals in a row, the server is not about to close a durable that is not open
here: a former owner of the client id has it.
"""


class Subscriptions:
    """The subscribing half of a connection.

    Args:
        session: whose subscriptions these are.
        options: the timeouts.
        on_lost: called when the server reports that it does not know the session.
        on_restored: called with a durable that is not open and the error, and with None once it is
            open again.
        on_doubt: called when the session should be pinged.
    """

    def __init__(
        self,
        session: Session,
        options: ConnectionOptions,
        on_lost: Callable[[SessionLost], None],
        on_restored: Callable[[Subscription, NatsStreamingError | None], None],
        on_doubt: Callable[[], None],
    ) -> None:
        self._opener = Opener(session, options, on_lost)
        self._concurrency = options.restore_concurrency
        self._on_lost = on_lost
        self._on_restored = on_restored
        self._on_doubt = on_doubt
        self._probe_inbox = session.inboxes.probes.encode()
        self._all: dict[Subscription, None] = {}
        self._retries: dict[Subscription, asyncio.Task[None]] = {}
        self._duplicates: Counter[Key] = Counter()
        self._dead: dict[Subscription, None] = {}
        self._dead_before_ping: dict[Subscription, None] = {}
        self.receive = self._opener.receive

    def attach(self, link: Link) -> None:
        """Use this link; subscriptions stay as they are until ``restore``."""
        self._opener.attach(link)

    def detach(self, make_error: Callable[[], SubscribeError]) -> None:
        """Fail requests with such an error, and hold acks, until there is a link again."""
        self._opener.detach(make_error)
        self._cancel_retries()
        self._dead.clear()
        self._dead_before_ping.clear()
        for subscription in self._all:
            subscription.set_stale()

    def close(self) -> None:
        """Close all for this side and send nothing to the server. Call ``detach`` before."""
        for subscription in self._all:
            subscription.set_closed()
            self._opener.drop(subscription)

    async def finish(self, timeout: float, caller: asyncio.Task[Any] | None) -> None:
        """Wait for handlers that await, each at most ``timeout`` (s), and for its own tasks.

        The caller may be such a handler, and is not waited for.
        """
        await asyncio.gather(*(subscription.finish(timeout, caller) for subscription in self._all))
        await asyncio.gather(*self._retries.values(), return_exceptions=True)

    def ping_begins(self) -> None:
        """Note that a ping is about to be sent."""
        for subscription in self._all:
            subscription.doubt_acks()
        self._dead_before_ping |= self._dead
        self._dead.clear()

    def ping_answered(self) -> None:
        """Note that the ping was answered: what was acked before has arrived."""
        for subscription in self._all:
            subscription.confirm_acks()

    def revive(self) -> None:
        """Open again what was found dead before the last ping, since the session lives."""
        for subscription in self._dead_before_ping:
            if subscription.is_open:
                self._revive(subscription)
        self._dead_before_ping.clear()

    def mute(self) -> None:
        """Drop what arrives from now on; acks are still sent."""
        for subscription in self._all:
            if subscription.is_open:
                subscription.set_closing()

    async def subscribe(
        self, subject: str, handler: Handler, options: SubscriptionOptions
    ) -> Subscription:
        """Subscribe as Connection.subscribe says."""
        names.check_channel(subject)
        subscription = Subscription(self, subject, handler, options)
        self._all[subscription] = None
        try:
            async with subscription.changing:
                await self._opener.open(subscription, options)
        except BaseException as error:
            subscription.set_closed()
            self._all.pop(subscription, None)
            self._look_for_former_owner(subscription, error)
            raise
        self._duplicates.pop(key_of(subject, options), None)
        return subscription

    async def end(self, subscription: Subscription, *, forget: bool) -> None:
        """End it as Subscription.unsubscribe and Subscription.close say."""
        async with subscription.changing:
            if subscription.is_closed:
                return
            self._opener.need_link()
            before = subscription.state
            subscription.set_closing()
            try:
                await self._opener.end(subscription, forget=forget)
            except BaseException:
                subscription.set_not_closing(before)
                raise
            subscription.set_closed()
            self._opener.drop(subscription)
            self._all.pop(subscription, None)
            retry = self._retries.pop(subscription, None)
            if retry is not None:
                retry.cancel()

    async def reopen(self, subscription: Subscription, options: SubscriptionOptions) -> None:
        """Open it again as Subscription.reopen says."""
        old = subscription.options
        same = replace(options, max_inflight=old.max_inflight, ack_wait=old.ack_wait)
        if old.durable is None or same != old:
            raise InvalidOptions("only max_inflight and ack_wait of a durable can be changed")
        try:
            await self._opener.reopen(subscription, options)
        except BaseException as error:
            # Also if the caller was cancelled: a durable must not stay closed unnoticed.
            if self._opener.link is not None and not subscription.is_closed:
                self._retry_later(subscription, error)
            raise

    async def restore(self, link: Link) -> None:
        """Open every durable again after an outage, and send the acks that were held.

        Returns when each was tried; what the server refused is retried until it succeeds.
        """
        self._cancel_retries()
        self._dead_before_ping.clear()
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
        await self._opener.end_lost(link)

    def probe(self) -> None:
        """Send each open one an ack of nothing, which NATS answers if no server listens.

        The server's inbox for acks lives as long as the subscription does, and an ack of a sequence
        that is not pending is harmless.
        """
        link = self._opener.link
        if link is None:
            return
        for subscription in self._all:
            token = self._opener.token_of(subscription.inbox)
            subscription.send_probe(link, b"%b.%b" % (self._probe_inbox, token))

    def receive_probe(
        self, subject: bytes, _reply: bytes, _data: bytes, headers: bytes | None
    ) -> None:
        """Take an answer of NATS to ``probe``: the acks of a subscription reach no server.

        Either the server has forgotten a durable, or another client has the session's id by now. In
        the second case it must not be opened again: the server would take it away from its new
        owner, which cannot get it back in that session. So the session is pinged first.
        """
        subscription = self._opener.find(subject[len(self._probe_inbox) + 1 :])
        if (
            subscription is not None
            and subscription.is_open
            and headers is not None
            and headers.startswith(NO_RESPONDERS)
        ):
            self._dead[subscription] = None
            self._on_doubt()

    def _revive(self, subscription: Subscription) -> None:
        error = UnknownSubscription("no server takes its acks")
        if subscription.options.durable is None:
            self._on_restored(subscription, error)
        else:
            self._retry_later(subscription, error, at_once=True)

    async def _restore_one(self, subscription: Subscription) -> None:
        try:
            await self._opener.reopen(subscription, subscription.options)
        except (NotConnected, SessionLost):
            pass  # the connection knows, and restores again or not at all
        except NatsStreamingError as error:
            self._retry_later(subscription, error)

    def _retry_later(
        self, subscription: Subscription, error: BaseException, *, at_once: bool = False
    ) -> None:
        if isinstance(error, NatsStreamingError):
            self._on_restored(subscription, error)
        previous = self._retries.pop(subscription, None)
        if previous is not None:
            previous.cancel()
        task = asyncio.get_running_loop().create_task(
            self._retry(subscription, at_once=at_once), name=f"restore {subscription}"
        )
        task.add_done_callback(self._check_end)
        self._retries[subscription] = task

    def _check_end(self, retry: asyncio.Task[None]) -> None:
        """Lose the session if a retry failed unexpectedly: no durable may stay closed unnoticed."""
        if not retry.cancelled() and (error := retry.exception()) is not None:
            logger.error("task %s failed", retry.get_name(), exc_info=error)
            self._on_lost(SessionLost(f"task {retry.get_name()} failed: {error!r}"))

    async def _retry(self, subscription: Subscription, *, at_once: bool) -> None:
        backoff = Backoff(RETRY_FIRST, RETRY_LAST)
        wait = 0.0 if at_once else backoff.next()
        while not subscription.is_closed:
            await asyncio.sleep(wait)
            wait = backoff.next()
            try:
                await self._opener.reopen(subscription, subscription.options)
            except (NotConnected, SessionLost):
                return
            except NatsStreamingError as error:
                self._on_restored(subscription, error)
                self._look_for_former_owner(subscription, error)
            else:
                self._duplicates.pop(key_of(subscription.subject, subscription.options), None)
                self._on_restored(subscription, None)
                return

    def _look_for_former_owner(self, subscription: Subscription, error: BaseException) -> None:
        """Give up a session that cannot have a durable, because a replaced session opened it.

        Requests to subscribe carry only the client id, so the server obeys a client that was
        replaced and does not know it yet. It closes what it has under the id when a new session is
        opened.
        """
        key = key_of(subscription.subject, subscription.options)
        if not isinstance(error, DuplicateDurable) or any(
            key_of(each.subject, each.options) == key
            for each in self._all
            if each is not subscription
        ):
            return
        self._duplicates[key] += 1
        if self._duplicates[key] >= DUPLICATES_BEFORE_LOSS:
            self._on_lost(SessionLost(f"a former owner of the client id has {subscription}"))

    def _cancel_retries(self) -> None:
        for task in self._retries.values():
            task.cancel()
        self._retries.clear()
