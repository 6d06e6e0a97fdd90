"""The desired state as values: channels, subscribers and the rules of delivery.

Kubernetes, a file or a test may be the source. ``natss.contract.documents`` reads them from
Kubernetes documents.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from natss.contract.channel_id import ChannelId, NamesDurable
from natss.contract.names import DEFAULT_CLUSTER_DOMAIN, durable_name


@dataclass(frozen=True, slots=True, order=True)
class ResourceName:
    """A namespaced name; ``str()`` returns ``namespace/name`` as kubectl prints it."""

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
    """The start position of a subscriber that has no durable yet."""

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

    Fields have the names of Knative where Knative has them (``DeliverySpec``).
    """

    ack_wait: int = 60
    """NATS Streaming redelivers an event after this time without ack. Whole seconds, >= 1."""

    max_inflight: int = 64
    """How many events may be in flight to one subscriber at once."""

    timeout: float = 30.0
    """The longest time of one attempt, from connecting to the end of the answer."""

    retry: int = 4
    """How many times a failed attempt is retried before the event is left to redelivery."""

    backoff_delay: float = 0.5
    backoff_policy: BackoffPolicy = BackoffPolicy.EXPONENTIAL

    max_redeliveries: int = 0
    """How many times NATS Streaming may redeliver a failed event before it goes to the dead letter
    sink. Without a dead letter sink an event is redelivered until it expires in the store.
    """

    dead_letter_uri: str | None = None
    start: Start = field(default_factory=Start)
    order: Order = Order.NONE

    @property
    def concurrency(self) -> int:
        """How many events of one subscription may be in flight at once."""
        return 1 if self.order is Order.CHANNEL else self.max_inflight


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """The values that documents omit, from the settings of the process."""

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
    """The function of the kind of its channel."""

    @property
    def durable(self) -> str:
        return self.names_durable(self.uid, self.ref.namespace, self.ref.name)


@dataclass(frozen=True, slots=True)
class Unserved:
    """The subscribers of a channel that get no events because it has more than are served."""

    number: int = 0
    durables: Mapping[ResourceName, str] = field(default_factory=dict)
    """By Subscription, the durables of all that have one already, which is kept as it is, and of as
    many others as are identified.
    """


@dataclass(frozen=True, slots=True)
class Channel:
    """A wanted channel: where events come in, and the subscribers that they go to."""

    name: ChannelId
    hosts: tuple[str, ...]
    """Normalised hosts (``natss.contract.names.normalise_host``)."""

    subscribers: tuple[Subscriber, ...] = ()
    policy: DeliveryPolicy = field(default_factory=DeliveryPolicy)
    subscribed_at: float | None = field(default=None, compare=False)
    """The latest time at which a subscriber may have been added (seconds since the epoch); None for
    now.
    """

    epoch: str = ""
    """Differs from those of earlier channels of its name; empty if it has none."""
    created: str = field(default="", compare=False)
    """When it was created, as the API writes it; empty if unknown."""

    unserved: Unserved = field(default_factory=Unserved)

    @property
    def subject(self) -> str:
        return self.name.subject(self.epoch)


@dataclass(frozen=True, slots=True)
class Problem:
    """A mistake in a document: where it is, what is wrong, and what holds instead."""

    resource: str
    """``Channel default/orders``, or the name of a file that could not be read at all."""

    path: str
    """The field, such as ``spec.arguments.retry``; for a file ``line 3, column 7``; or empty."""

    message: str

    origin: str = ""
    """Where the document was read, such as ``channels.yaml, line 12``; empty if unknown."""

    consequence: str = ""
    """What holds for now, such as ``4 is used instead``."""

    refused: bool = False
    """Whether something cannot be used as it is written; otherwise the problem is a hint, for
    example about an unknown field.
    """

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
        """The same with the field, for readers who know the document."""
        return ": ".join(part for part in (self.path, self.said) if part)

    def __str__(self) -> str:
        resource = f"{self.resource} ({self.origin})" if self.origin else self.resource
        return f"{resource}: {self.text}"


@dataclass(frozen=True, slots=True)
class Unread:
    """What documents that cannot be read may want, and what therefore must not be removed."""

    anything: bool = False
    """Whether it is unknown what an unreadable document wants."""

    channels: frozenset[ChannelId] = frozenset()
    """Channels that may want any subscriber."""

    subscriptions: frozenset[ResourceName] = frozenset()


@dataclass(frozen=True, slots=True)
class DesiredState:
    """Everything that a source wants at one moment.

    The ``problems`` are reported; the rest of the state is valid and is applied.
    """

    channels: Mapping[ChannelId, Channel]
    problems: tuple[Problem, ...] = ()
    deleted: Mapping[ChannelId, Channel] = field(default_factory=dict)
    """Channels that were deleted for good and wait until nothing of them is left: the durables of
    their subscribers are removed at once.
    """

    unread: Unread = Unread()
    without_subject: frozenset[ChannelId] = frozenset()
    """Channels whose subject an older one has. Their subscribers get no events from it, and keep
    the durables that they have.
    """

    def may_want(self, channel: ChannelId, subscription: ResourceName) -> bool:
        """Return whether a subscriber that is not served may be wanted all the same.

        A document that cannot be read may contain it, or its channel may have too many.
        """
        unread = self.unread
        return (
            unread.anything
            or channel in unread.channels
            or (subscription in unread.subscriptions and channel in self.channels)
            or self.has_no_place(channel, subscription)
        )

    def has_no_place(self, channel: ChannelId, subscription: ResourceName) -> bool:
        """Return whether a subscriber is wanted and cannot be served.

        Its channel has too many subscribers, or does not have its subject.
        """
        wanted = self.channels.get(channel)
        return channel in self.without_subject or (
            wanted is not None and subscription in wanted.unserved.durables
        )
