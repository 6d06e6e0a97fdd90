"""What both programs tell in ``status`` of a channel, in the form of its kind. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from natss.contract.fields import object_at, text_at

Told = Mapping[str, Any]
"""Of one subscriber: ``uid`` (its durable), ``ready``, and where it is not, ``reason`` and
``message``."""


class ChannelStatusForm(Protocol):
    """Where ``status`` of one kind of channel has what.

    What is read may have been written by anybody, and is None, or nothing, if it is something else
    than it should be. What is written are fields of ``status``, to be merged.
    """

    @property
    def parts(self) -> Sequence[str]:
        """The fields of ``status`` that the dispatcher reads."""

    def host(self, channel: Mapping[str, Any]) -> str | None:
        """The host that its controller gives to publishers."""

    def with_host(self, host: str | None) -> dict[str, Any]:
        """The fields that give it to them."""

    def served_host(self, channel: Mapping[str, Any]) -> str | None:
        """The host of which a dispatcher has told that it is served."""

    def with_served_host(self, host: str) -> dict[str, Any]:
        """The fields that tell it."""

    def subscribers(self, channel: Mapping[str, Any]) -> list[Told]:
        """What a dispatcher has told of the delivery to each subscriber."""

    def with_subscribers(self, subscribers: Sequence[Told]) -> dict[str, Any]:
        """The fields that tell it."""


class EventingStatus:
    """That of a Channel of ``eventing.knative.dev/v1alpha1``, the form of Knative v0.5 and v0.6."""

    parts = ("address", "dispatcher", "subscribableStatus")

    def host(self, channel: Mapping[str, Any]) -> str | None:
        return text_at(channel, "status", "address", "hostname")

    def with_host(self, host: str | None) -> dict[str, Any]:
        return {"address": {"hostname": host} if host else None}

    def served_host(self, channel: Mapping[str, Any]) -> str | None:
        return text_at(channel, "status", "dispatcher", "host")

    def with_served_host(self, host: str) -> dict[str, Any]:
        return {"dispatcher": {"host": host}}

    def subscribers(self, channel: Mapping[str, Any]) -> list[Told]:
        found = object_at(channel, "status", "subscribableStatus").get("subscribers")
        return (
            [each for each in found if isinstance(each, Mapping)] if isinstance(found, list) else []
        )

    def with_subscribers(self, subscribers: Sequence[Told]) -> dict[str, Any]:
        return {"subscribableStatus": {"subscribers": list(subscribers)}}
