"""A subscription as its user has it: messages go to the handler, acks go to the server.

It holds acks back while the server could not take them, and messages that arrive before the server
has said where acks go. ``subscribing.py`` makes, restores and ends it on the server.
"""

import asyncio
import enum
import logging
from typing import Any, Protocol

from google.protobuf.message import DecodeError

from natss.nats_streaming import messages
from natss.nats_streaming.handling import Handler, Handling
from natss.nats_streaming.link import Link
from natss.nats_streaming.message import Message
from natss.nats_streaming.options import SubscriptionOptions

logger = logging.getLogger(__name__)


MAX_DOUBTFUL_ACKS = 65536
"""How many acks between two pings are kept to be repeated after an outage; of more, the latest. A
lost ack costs one redelivery, nothing else.
"""


class SubscriptionState(enum.Enum):
    OPENING = "opening"
    """Requested, or requested again; not answered yet."""
    OPEN = "open"
    STALE = "stale"
    """Nobody knows whether the server still has it: acks are held until it is restored."""
    CLOSING = "closing"
    """What arrives is dropped, acks are still sent."""
    CLOSED = "closed"
    """Final."""


class SubscriptionOwner(Protocol):
    """The part of a session that talks to the server for a subscription."""

    async def end(self, subscription: "Subscription", *, forget: bool) -> None: ...

    async def reopen(self, subscription: "Subscription", options: SubscriptionOptions) -> None: ...


class Subscription:
    """Made by ``Connection.subscribe``, and restored by the connection until it is closed.

    Attributes:
        subject: the channel.
        options: those in effect.
    """

    def __init__(
        self, owner: SubscriptionOwner, subject: str, handler: Handler, options: SubscriptionOptions
    ) -> None:
        self.subject = subject
        self.options = options
        self.inbox = ""
        self.ack_inbox = ""
        self.changing = asyncio.Lock()
        self._owner = owner
        self._state = SubscriptionState.OPENING
        self._link: Link | None = None
        self._ack_subject = b""
        self._ack_head = messages.ack_head(subject)
        self._sent_acks: list[int] = []
        self._doubtful_acks: list[int] = []
        self._held_acks: dict[int, None] = {}
        self._early: list[bytes] = []
        self._handling = Handling(
            handler, None if options.manual_ack else self.ack, f"handler of {self}"
        )

    def __repr__(self) -> str:
        name = "/".join(filter(None, (self.options.durable, self.options.queue)))
        return f"<Subscription {self.subject} {name or 'not durable'}>"

    @property
    def state(self) -> SubscriptionState:
        return self._state

    @property
    def is_open(self) -> bool:
        """Whether messages can arrive now."""
        return self._state is SubscriptionState.OPEN

    @property
    def is_closed(self) -> bool:
        return self._state is SubscriptionState.CLOSED

    def ack(self, sequence: int) -> None:
        """Tell the server not to send a message again.

        Never fails. While NATS is away, or the subscription is being restored, the ack is kept and
        sent later. An ack may be late, repeated or out of order.
        """
        state, link = self._state, self._link
        if link is not None and (
            state is SubscriptionState.OPEN or state is SubscriptionState.CLOSING
        ):
            link.send(self._ack_subject, b"", messages.pack_ack(self._ack_head, sequence))
            self._sent_acks.append(sequence)
        elif state is not SubscriptionState.CLOSED:
            self._held_acks[sequence] = None

    async def unsubscribe(self) -> None:
        """End it for good: delete a durable's position, or that of a group with its last member.

        Raises:
            NotConnected, ServerUnavailable: it may still exist; try again.
            SubscribeError: as the server said.
        """
        await self._owner.end(self, forget=True)

    async def close(self) -> None:
        """End it for now: a durable keeps its position and what is not acked.

        Raises: as ``unsubscribe``.
        """
        await self._owner.end(self, forget=False)

    async def reopen(self, options: SubscriptionOptions | None = None) -> None:
        """Close and open a durable again: what is not acked comes again at once.

        Args:
            options: a new ``max_inflight`` or ``ack_wait``; the rest must stay as it was.

        Raises:
            InvalidOptions: not durable, or something else differs.
            SubscribeError: not open again; the client keeps retrying with the old options.
        """
        await self._owner.reopen(self, self.options if options is None else options)

    def receive(self, data: bytes) -> None:
        """Take what arrives in its inbox."""
        state = self._state
        if state is SubscriptionState.OPENING:
            self._early.append(data)
            return
        if state is SubscriptionState.CLOSING or state is SubscriptionState.CLOSED:
            return
        try:
            proto = messages.read_message(data)
        except DecodeError:
            logger.warning("a message of %d bytes on %s cannot be read", len(data), self.subject)
            return
        message = Message(self, proto.sequence, proto.timestamp, proto.data)
        if proto.redelivered:
            message.redelivered = True
            message.redelivery_count = proto.redelivery_count
        self._handling.handle(message)

    def send_probe(self, link: Link, reply: bytes) -> None:
        """Ask, if it is open, whether anyone takes its acks; only "nobody" is answered."""
        if self._state is SubscriptionState.OPEN:
            link.send(self._ack_subject, reply, messages.pack_ack(self._ack_head, 0))

    def set_opening(self, inbox: str) -> None:
        self._state = SubscriptionState.OPENING
        self.inbox = inbox
        self._early.clear()

    def set_open(self, link: Link, ack_inbox: str, options: SubscriptionOptions) -> None:
        """Mark it open: send held acks, then hand early messages to the handler."""
        self.options = options
        self.ack_inbox = ack_inbox
        self._ack_subject = ack_inbox.encode()
        self._link = link
        self._state = SubscriptionState.OPEN
        self._send_held(link)
        self._held_acks.clear()
        early, self._early = self._early, []
        for data in early:
            self.receive(data)

    def set_stale(self) -> None:
        """Hold acks from now on, with those that may not have arrived."""
        if self._state is not SubscriptionState.CLOSED:
            self._state = SubscriptionState.STALE
            self._early.clear()
            self._held_acks |= dict.fromkeys(self._doubtful_acks)
            self._held_acks |= dict.fromkeys(self._sent_acks)
            self.confirm_acks()
            self._sent_acks.clear()

    def doubt_acks(self) -> None:
        """Note that a ping is about to be sent, whose answer confirms the acks sent before."""
        if self._sent_acks:
            self._doubtful_acks += self._sent_acks
            del self._doubtful_acks[:-MAX_DOUBTFUL_ACKS]
            self._sent_acks.clear()

    def confirm_acks(self) -> None:
        """Note that the ping was answered, so the acks sent before have reached the server."""
        self._doubtful_acks.clear()

    def set_closing(self) -> None:
        """Drop what arrives from now on, and what waits for its turn."""
        self._state = SubscriptionState.CLOSING
        self._handling.drop_waiting()

    def set_not_closing(self, before: SubscriptionState) -> None:
        """Undo ``set_closing``: it was not ended. If the link went down meanwhile, it is stale."""
        if self._state is SubscriptionState.CLOSING:
            self._state = before

    def set_closed(self) -> None:
        self._state = SubscriptionState.CLOSED
        self._early.clear()
        self._held_acks.clear()
        self._sent_acks.clear()
        self._doubtful_acks.clear()
        self._handling.drop_waiting()

    def send_held_acks(self, link: Link) -> None:
        """Send held acks to their last inbox; keep them, since that may no longer exist.

        If it does, the server does not send those messages again when the durable is reopened.
        """
        if self._ack_subject:
            self._send_held(link)

    async def finish(self, timeout: float, caller: asyncio.Task[Any] | None) -> None:
        """Wait for a handler that awaits, unless it is the caller; cancel it after ``timeout``."""
        await self._handling.finish(timeout, caller)

    def _send_held(self, link: Link) -> None:
        for sequence in self._held_acks:
            link.send(self._ack_subject, b"", messages.pack_ack(self._ack_head, sequence))
