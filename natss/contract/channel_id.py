"""The identity of a channel: its kind, its namespace and its name. Pure.

``natss.contract.channel_kinds`` has the kinds and says how each is read.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

NamesDurable = Callable[[str | None, str, str], str]
"""Returns the name of the durable that keeps a subscriber's position; from its uid, and namespace
and name of its Subscription.
"""


@dataclass(frozen=True, slots=True)
class ChannelNames:
    """The names that channels of one kind have in HTTP, in the store and in Kubernetes."""

    subject: Callable[[str, str, str], str]
    """Returns the subject of a channel's events; from namespace, name, and epoch (which may be
    empty). No two channels of one kind have the same.
    """

    of_subject: Callable[[str], tuple[str, str] | None]
    """Returns namespace and name of a subject's channel; None if it is of another kind."""

    host: Callable[[str, str, str], str]
    """Returns the host of a channel besides its Service; from namespace, name, cluster domain."""

    service: Callable[[str, str], str]
    """Returns the name of the Service in front of a channel; from namespace and name."""

    durable: NamesDurable


@dataclass(frozen=True, slots=True, order=True)
class ChannelKind:
    """A kind of channel in the Kubernetes API. Kinds are equal if their API group and kind are."""

    group: str
    kind: str
    version: str = field(compare=False)
    plural: str = field(compare=False)
    mark: str = field(compare=False)
    """Differs between kinds in labels, records and messages.

    Empty for the kind that was the only one once and had no mark.
    """

    names: ChannelNames = field(compare=False, repr=False)

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}"

    @property
    def title(self) -> str:
        """The name for people; it differs between kinds."""
        return self.mark or self.kind


@dataclass(frozen=True, slots=True, order=True)
class ChannelId:
    """Identifies a channel; ``str()`` returns ``namespace/name``, after the mark of its kind."""

    kind: ChannelKind = field(hash=False)  # few channels differ only in their kind
    namespace: str
    name: str

    def __str__(self) -> str:
        name = f"{self.namespace}/{self.name}"
        return f"{self.kind.mark} {name}" if self.kind.mark else name

    @property
    def title(self) -> str:
        """The name with the kind, such as ``Channel default/orders``."""
        return f"{self.kind.title} {self.namespace}/{self.name}"

    def subject(self, epoch: str = "") -> str:
        """Return the subject of its events."""
        return self.kind.names.subject(self.namespace, self.name, epoch)

    def host(self, cluster_domain: str) -> str:
        """Return its host besides that of its Service."""
        return self.kind.names.host(self.namespace, self.name, cluster_domain)

    @property
    def service(self) -> str:
        """The name of the Service in front of it."""
        return self.kind.names.service(self.namespace, self.name)
