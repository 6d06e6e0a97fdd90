"""What identifies a channel: its kind, its namespace and its name. Pure.

Which kinds there are, and how each is read, is in ``natss.contract.channel_kinds``.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

NamesDurable = Callable[[str | None, str, str], str]
"""The name of the durable that keeps a subscriber's position; of its uid, and of namespace and name
of its Subscription."""


@dataclass(frozen=True, slots=True)
class ChannelNames:
    """The names that channels of one kind have in HTTP, in the store and in Kubernetes."""

    subject: Callable[[str, str, str], str]
    """Under which events are stored; of namespace, name, and epoch (which may be empty). No two
    channels of one kind have the same."""

    of_subject: Callable[[str], tuple[str, str] | None]
    """Namespace and name of the channel that a subject is of; None if it is of another kind."""

    host: Callable[[str, str, str], str]
    """Under which a channel is known besides its Service; of namespace, name, cluster domain."""

    service: Callable[[str, str], str]
    """Of the Service in front of a channel; of namespace and name."""

    durable: NamesDurable


@dataclass(frozen=True, slots=True, order=True)
class ChannelKind:
    """A kind of channel in the Kubernetes API. Equal if API group and kind are."""

    group: str
    kind: str
    version: str = field(compare=False)
    plural: str = field(compare=False)
    mark: str = field(compare=False)
    """What tells its channels from those of other kinds in labels, records and messages.

    Empty for the one kind that had no mark when it was the only one.
    """

    names: ChannelNames = field(compare=False, repr=False)

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}"

    @property
    def title(self) -> str:
        """How people call it; another one for each kind."""
        return self.mark or self.kind


@dataclass(frozen=True, slots=True, order=True)
class ChannelId:
    """Which channel; ``str()`` gives ``namespace/name``, behind the mark of a kind that has one."""

    kind: ChannelKind = field(hash=False)  # few channels differ in nothing else
    namespace: str
    name: str

    def __str__(self) -> str:
        name = f"{self.namespace}/{self.name}"
        return f"{self.kind.mark} {name}" if self.kind.mark else name

    @property
    def title(self) -> str:
        """With the kind, as ``Channel default/orders``."""
        return f"{self.kind.title} {self.namespace}/{self.name}"

    def subject(self, epoch: str = "") -> str:
        """Under which its events are stored."""
        return self.kind.names.subject(self.namespace, self.name, epoch)

    def host(self, cluster_domain: str) -> str:
        """Under which it is known besides its Service."""
        return self.kind.names.host(self.namespace, self.name, cluster_domain)

    @property
    def service(self) -> str:
        """The name of the Service in front of it."""
        return self.kind.names.service(self.namespace, self.name)
