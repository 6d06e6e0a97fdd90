"""Channels, subscribers and how to deliver to them, as values.

They are what is wanted, whoever says so: Kubernetes, a file or a test. ``natss.contract.documents``
makes them from Kubernetes documents.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from natss.contract.channel_id import ChannelId, NamesDurable
from natss.contract.names import DEFAULT_CLUSTER_DOMAIN, durable_name


@dataclass(frozen=True, slots=True, order=True)
class ResourceName:
    """A namespaced name; ``str()`` gives ``namespace/name`` as kubectl prints it."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class StartKind(enum.Enum):
    """Where a new durable starts. ``NEW``, ``FIRST`` and ``LAST`` have no value."""

    NEW = "new"
    FIRST = "first"
    LAST = "last"
    SEQUENCE = "sequence"  # value: the sequence of the first event
    TIME = "time"  # value: seconds since the epoch
    AGO = "ago"  # value: seconds before the moment of subscribing


@dataclass(frozen=True, slots=True)
class Start:
    """Where the delivery to a subscriber starts that has no durable yet."""

    kind: StartKind = StartKind.NEW
    value: float = 0


class BackoffPolicy(enum.Enum):
    """How the wait before a retry grows with the number of the retry, counted from 1."""

    LINEAR = "linear"  # delay * n
    EXPONENTIAL = "exponential"  # delay * 2^n


class Order(enum.Enum):
    """Whether events of a channel may overtake each other on the way to one subscriber."""

    NONE = "none"
    CHANNEL = "channel"


@dataclass(frozen=True, slots=True)
class DeliveryPolicy:
    """How the events of a channel are delivered. All times are in seconds.

    Names of fields are Knative's where Knative has the field (``DeliverySpec``).
    """

    ack_wait: int = 60
    """After this time without ack NATS Streaming sends an event again. Whole seconds, >= 1."""

    max_inflight: int = 64
    """How many events may be on the way to one subscriber at once."""

    timeout: float = 30.0
    """The longest that one attempt may take, from connecting to the end of the answer."""

    retry: int = 4
    """How often a failed attempt is repeated before the event is left to redelivery."""

    backoff_delay: float = 0.5
    backoff_policy: BackoffPolicy = BackoffPolicy.EXPONENTIAL

    max_redeliveries: int = 0
    """How often NATS Streaming may redeliver a failed event before it goes to the dead letter
    sink. Without dead letter sink an event is redelivered until it expires in the store."""

    dead_letter_uri: str | None = None
    start: Start = field(default_factory=Start)
    order: Order = Order.NONE

    @property
    def concurrency(self) -> int:
        """How many events of one subscription may be on the way at once."""
        return 1 if self.order is Order.CHANNEL else self.max_inflight


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What documents leave open, from the settings of the process."""

    cluster_domain: str = DEFAULT_CLUSTER_DOMAIN
    policy: DeliveryPolicy = field(default_factory=DeliveryPolicy)
    max_subscribers: int | None = None
    """How many subscribers of one channel are served; None for all."""


@dataclass(frozen=True, slots=True)
class Subscriber:
    """An entry of ``spec.subscribable.subscribers``; the URIs are complete (scheme and host)."""

    ref: ResourceName
    """The Subscription that this entry came from."""

    uid: str | None = None
    subscriber_uri: str | None = None
    reply_uri: str | None = None
    names_durable: NamesDurable = field(default=durable_name, compare=False, repr=False)
    """As the kind of its channel does."""

    @property
    def durable(self) -> str:
        return self.names_durable(self.uid, self.ref.namespace, self.ref.name)


@dataclass(frozen=True, slots=True)
class Unserved:
    """The subscribers of a channel that get no events, for it has more than may be served."""

    number: int = 0
    durables: Mapping[ResourceName, str] = field(default_factory=dict)
    """By the Subscription: of all that have a durable already, which is kept as it is, and of as
    many others as may be told."""


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel as it is wanted: where events come in and to whom they go out."""

    name: ChannelId
    hosts: tuple[str, ...]
    """Normalised (``natss.contract.names.normalise_host``)."""

    subscribers: tuple[Subscriber, ...] = ()
    policy: DeliveryPolicy = field(default_factory=DeliveryPolicy)
    subscribed_at: float | None = field(default=None, compare=False)
    """When the latest of the subscribers were added at the latest (seconds since the epoch); None
    for just now."""

    epoch: str = ""
    """What tells it from channels that had its name before; empty if nothing does."""
    created: str = field(default="", compare=False)
    """When, as the API writes it; empty where nobody tells."""

    unserved: Unserved = field(default_factory=Unserved)

    @property
    def subject(self) -> str:
        return self.name.subject(self.epoch)


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong in a document: where, what, and what to do about it."""

    resource: str
    """``Channel default/orders``, or the name of a file that could not be read at all."""

    path: str
    """The field, as ``spec.arguments.retry``; for a file ``line 3, column 7``; or empty."""

    message: str

    origin: str = ""
    """Where the document was read, as ``channels.yaml, line 12``; empty if it has no such place."""

    consequence: str = ""
    """What holds for now, as ``4 is used instead``."""

    refused: bool = False
    """Whether something that was asked for cannot be had as it is written; else it is a hint, as
    that a field is unknown."""

    @property
    def reason(self) -> str:
        """One word for programs, the same in conditions, Events and logs."""
        return "Refused" if self.refused else "Ignored"

    @property
    def said(self) -> str:
        """What is wrong, and what holds for now."""
        return "; ".join(part for part in (self.message, self.consequence) if part)

    @property
    def text(self) -> str:
        """The same with the field, for who knows the document."""
        return ": ".join(part for part in (self.path, self.said) if part)

    def __str__(self) -> str:
        resource = f"{self.resource} ({self.origin})" if self.origin else self.resource
        return f"{resource}: {self.text}"


@dataclass(frozen=True, slots=True)
class Unread:
    """What may be wanted, but stands in documents that cannot be read: it is not to be removed."""

    anything: bool = False
    """Nobody knows what the unreadable document is about."""

    channels: frozenset[ChannelId] = frozenset()
    """Any subscriber of theirs may be meant."""

    subscriptions: frozenset[ResourceName] = frozenset()


@dataclass(frozen=True, slots=True)
class DesiredState:
    """Everything that a source wants at one moment.

    What is in ``problems`` is reported; the rest of the state is good and is applied.
    """

    channels: Mapping[ChannelId, Channel]
    problems: tuple[Problem, ...] = ()
    deleted: Mapping[ChannelId, Channel] = field(default_factory=dict)
    """Channels that were deleted for good and wait until nothing of them is left: the durables of
    their subscribers are to be removed at once."""

    unread: Unread = Unread()
    without_subject: frozenset[ChannelId] = frozenset()
    """Channels whose subject an older one has. Their subscribers get no events from there, and keep
    the durables that they have."""

    def may_want(self, channel: ChannelId, subscription: ResourceName) -> bool:
        """Whether a subscriber that is not served may be wanted all the same.

        It may stand in a document that cannot be read, or its channel may have too many.
        """
        unread = self.unread
        return (
            unread.anything
            or channel in unread.channels
            or (subscription in unread.subscriptions and channel in self.channels)
            or self.has_no_place(channel, subscription)
        )

    def has_no_place(self, channel: ChannelId, subscription: ResourceName) -> bool:
        """Whether a subscriber is wanted and cannot be served.

        Its channel has too many, or has not got its subject.
        """
        wanted = self.channels.get(channel)
        return channel in self.without_subject or (
            wanted is not None and subscription in wanted.unserved.durables
        )
