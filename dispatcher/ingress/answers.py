"""The requests of one connection that wait for their answers, in the order of arrival.

It publishes events and turns outcomes into bytes; it never touches a socket. Its owner asks it for
the bytes that can be written.
"""

from asyncio import Future
from collections import deque
from collections.abc import Callable

import structlog

from dispatcher.event.stored_form import encode
from dispatcher.ingress import responses
from dispatcher.ingress.context import IngressContext
from dispatcher.ingress.request import Headers, Request
from dispatcher.ingress.responses import Refusal
from dispatcher.runtime.fair_share import PublishShare
from dispatcher.stores.interface import EventTooLarge, NotStored
from natss.contract.labels import channel_labels

_NO_HEADERS: Headers = []

log = structlog.get_logger(__name__)

_REQUEST_OVERHEAD = 1024
"""Bytes of memory that a waiting request takes besides its event, approximately."""


_GIVEN_UP = NotStored("unavailable", "the connection to NATS Streaming ended", retriable=True)


class PublisherAnswers:
    """A queue of requests. Events are published in its order, answers leave in its order.

    Args:
        context: That of the server.
        on_ready: Called when an answer becomes known without a call from the owner.

    Attributes:
        requests: Those whose answers were not taken yet.
        has_news: Whether ``take`` may return something.
        waiting_bytes: Bytes of the events that wait to be published.
    """

    __slots__ = (
        "_context",
        "_in_flight",
        "_on_done",
        "_on_ready",
        "_unpublished",
        "has_news",
        "requests",
        "waiting_bytes",
    )

    def __init__(self, context: IngressContext, on_ready: Callable[[], None]) -> None:
        self._context = context
        self._on_ready = on_ready
        self._on_done = self._done
        self.requests: deque[Request] = deque()
        self._unpublished: deque[Request] = deque()
        self._in_flight = 0  # published, and the answer not taken
        self.has_news = False
        self.waiting_bytes = 0

    def add(self, request: Request, body: bytes | bytearray) -> None:
        """Take a complete request to a channel: publish it now or when its turn comes."""
        context = self._context
        request.complete_at = context.clock()
        request.event = encode(request.headers, body, request.host.decode("ascii"))
        request.headers = _NO_HEADERS
        self.requests.append(request)
        lane = request.route.lane
        if (
            lane.is_free
            and not self._unpublished
            and self._in_flight < context.limits.max_pipelined
        ):
            self._publish(request)
        else:
            self._unpublished.append(request)
            self.waiting_bytes += len(request.event) + _REQUEST_OVERHEAD
            if self._unpublished[0] is request and not lane.is_free:
                lane.wait(self)

    def add_refused(self, request: Request, refusal: Refusal) -> None:
        """Take a request that is answered without being published."""
        self._count_refused(refusal)
        request.refusal = refusal
        request.headers = _NO_HEADERS
        if refusal.closes:
            request.keeps_alive = False
        self.requests.append(request)
        self.has_news = True
        if len(self.requests) > self._context.limits.max_pipelined:
            self.waiting_bytes += _REQUEST_OVERHEAD

    def end(self) -> None:
        """Make the last answer the last of the connection."""
        if self.requests:
            self.requests[-1].keeps_alive = False

    def take(self) -> bytes:
        """Return what can be answered now, or nothing; make room for what waits to be published."""
        self.has_news = False
        parts: list[bytes] = []
        self._take_answered(parts)
        while self.waiting_bytes and self._publish_waiting():
            self._take_answered(parts)  # some may be stored at once
        return b"".join(parts)

    def _take_answered(self, parts: list[bytes]) -> None:
        requests = self.requests
        known = self._context.responses
        while requests:
            request = requests[0]
            refusal = request.refusal
            if refusal is None:
                future = request.future
                if future is None or not future.done():
                    return
                if future.cancelled() or future.exception() is not None:
                    refusal = self._failure(request, future)
                else:
                    self._count(request, "stored")
            requests.popleft()
            if request.future is not None:
                self._in_flight -= 1
                request.route.lane.ended()
            if refusal is not None:
                parts.append(self._refused(request, refusal))
            elif not request.keeps_alive:
                parts.append(known.accepted_closing)
            elif request.is_http10:
                parts.append(known.accepted_keep_alive)
            else:
                parts.append(known.accepted)

    def go_on(self, lane: PublishShare) -> None:
        """Publish what waits, as ``dispatcher.runtime.fair_share.Waiter`` says."""
        waiting = self._unpublished
        self._drop_refused()
        if (
            waiting
            and waiting[0].route.lane is lane
            and self._in_flight < self._context.limits.max_pipelined
        ):
            self._publish(waiting.popleft())
        self._publish_waiting()
        self._on_ready()

    def expire(self, complete_before: float) -> None:
        """Refuse requests that have waited too long."""
        for request in self.requests:
            if request.complete_at > complete_before:
                break
            if request.refusal is None and not (request.future and request.future.done()):
                self._fail(request, "timeout", responses.NOT_CONFIRMED)

    def drop_waiting(self) -> None:
        """Forget the requests that wait to be published, and those beyond the limit.

        There is no room for them, and the connection has to end before their answers.
        """
        most = self._context.limits.max_pipelined
        requests, waiting = self.requests, self._unpublished
        while requests and requests[-1].future is None and (waiting or len(requests) > most):
            if requests.pop() is (waiting[-1] if waiting else None):
                self._forget(waiting.pop())
        self.abandon()

    def abandon(self) -> None:
        """Stop: nobody waits for the answers any more, and what is not published will not be."""
        for request in self._unpublished:
            self._forget(request)
        self._unpublished.clear()
        self.waiting_bytes = 0

    def _forget(self, request: Request) -> None:
        request.event = b""
        request.route.lane.leave(self)

    def _publish(self, request: Request) -> None:
        event, request.event = request.event, b""
        try:
            future = self._context.publish(request.route.subject, event)
        except NotStored as error:
            self._not_stored(request, error)
        except Exception:  # whatever fails here, the publisher gets an answer
            log.exception("publishing broke", **channel_labels(request.route.channel.name))
            self._fail(request, "error", responses.BROKEN)
        else:
            request.future = future
            self._in_flight += 1
            request.route.lane.began()
            if future.done():
                self.has_news = True
            else:
                future.add_done_callback(self._on_done)

    def _publish_waiting(self) -> bool:
        """Publish as many as are allowed; return whether there were any."""
        most = self._context.limits.max_pipelined
        waiting = self._unpublished
        before = len(waiting)
        self._drop_refused()
        while waiting and self._in_flight < most:
            lane = waiting[0].route.lane
            if not lane.is_free:
                lane.wait(self)
                break
            self._publish(waiting.popleft())
        beyond = max(len(waiting), len(self.requests) - most)
        self.waiting_bytes = sum(len(r.event) for r in waiting) + beyond * _REQUEST_OVERHEAD
        return len(waiting) < before

    def _drop_refused(self) -> None:
        """Drop those that have waited too long for their turn; they are the oldest."""
        while self._unpublished and self._unpublished[0].refusal is not None:
            self._forget(self._unpublished.popleft())

    def _done(self, future: "Future[str]") -> None:
        if not future.cancelled():
            future.exception()  # marks it as retrieved, even if its request was answered long ago
        self._on_ready()

    def _failure(self, request: Request, future: "Future[str]") -> Refusal | None:
        error = None if future.cancelled() else future.exception()
        self._not_stored(request, _GIVEN_UP if error is None else self._context.not_stored(error))
        return request.refusal

    def _not_stored(self, request: Request, error: NotStored) -> None:
        if isinstance(error, EventTooLarge):
            refusal = responses.event_too_large(str(error))
        else:
            refusal = responses.not_stored(str(error), retriable=error.retriable)
        self._fail(request, error.reason, refusal)

    def _fail(self, request: Request, result: str, refusal: Refusal) -> None:
        self._count(request, result)
        request.refusal = refusal
        self.has_news = True

    def _count(self, request: Request, result: str) -> None:
        metrics = request.route.metrics
        metrics.results[result] = metrics.results.get(result, 0) + 1
        metrics.seconds.observe(self._context.clock() - request.complete_at)

    def _count_refused(self, refusal: Refusal) -> None:
        metrics = self._context.metrics
        if refusal.status == 404 and refusal is not responses.WRONG_PATH:
            metrics.unknown_hosts += 1
        elif refusal.status >= 400 and refusal.status != 413:  # a channel counts these
            metrics.refused[refusal.status] += 1

    def _refused(self, request: Request, refusal: Refusal) -> bytes:
        connection = b""
        if not request.keeps_alive:
            connection = responses.CLOSE
        elif request.is_http10:
            connection = responses.KEEP_ALIVE
        return self._context.responses.refuse(refusal, connection, with_body=not request.is_head)
