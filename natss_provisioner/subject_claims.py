"""The subject that each channel wants, as last seen. Pure.

A channel wants a subject once a dispatcher serves it: the dispatcher decides on the epoch.
"""

from natss.contract.channel_id import ChannelId, ChannelKind
from natss.contract.fields import text_at
from natss.contract.names import DISPATCHER_FINALIZER, EPOCH_ANNOTATION
from natss.contract.subjects import first
from natss.document import Document
from natss.knative import channel_id


class SubjectClaims:
    """The subjects of all channels of NATS Streaming."""

    def __init__(self) -> None:
        self._subject_of: dict[ChannelId, str] = {}
        self._claims: dict[str, dict[ChannelId, str]] = {}

    def forget(self, kind: ChannelKind) -> None:
        """Forget all channels of a kind."""
        for name in [each for each in self._subject_of if each.kind == kind]:
            self.drop(name)

    def put(self, channel: Document) -> set[ChannelId]:
        """Note what a channel wants; return the other channels that this concerns."""
        name, metadata = channel_id(channel), channel["metadata"]
        concerned = self.drop(name)
        if DISPATCHER_FINALIZER not in (metadata.get("finalizers") or ()):
            return concerned
        subject = name.subject(text_at(metadata, "annotations", EPOCH_ANNOTATION) or "")
        claims = self._claims.setdefault(subject, {})
        concerned |= claims.keys()
        claims[name] = metadata.get("creationTimestamp") or ""
        self._subject_of[name] = subject
        return concerned

    def drop(self, name: ChannelId) -> set[ChannelId]:
        """Forget a channel; return the other channels that this concerns."""
        subject = self._subject_of.pop(name, None)
        if subject is None:
            return set()
        claims = self._claims[subject]
        del claims[name]
        if not claims:
            del self._claims[subject]
        return set(claims)

    def subject_of(self, name: ChannelId) -> str:
        """Return the subject that a channel wants; empty if none is known."""
        return self._subject_of.get(name, "")

    def owner(self, name: ChannelId) -> ChannelId:
        """Return the channel that has the subject that this one wants; mostly this one itself."""
        claims = self._claims.get(self.subject_of(name))
        return first(claims) if claims else name
