"""What both programs report in ``status`` of a channel, in the form of its kind. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from natss.contract.fields import object_at, text_at

Told = Mapping[str, Any]
"""The report on one subscriber: ``uid`` (its durable), ``ready``, and unless it is, ``reason`` and
``message``.
"""


class ChannelStatusForm(Protocol):
    """The form of ``status`` of one kind of channel.

    Anybody may have written what is read: a value of the wrong type is read as None, or as nothing.
    The methods ``with_...`` return fields of ``status`` to merge.
    """

    @property
    def parts(self) -> Sequence[str]:
        """The fields of ``status`` that the dispatcher reads."""

    def host(self, channel: Mapping[str, Any]) -> str | None:
        """Return the host that its controller has published."""

    def with_host(self, host: str | None) -> dict[str, Any]:
        """Return the fields that publish the host."""

    def served_host(self, channel: Mapping[str, Any]) -> str | None:
        """Return the host that a dispatcher has reported as served."""

    def with_served_host(self, host: str) -> dict[str, Any]:
        """Return the fields that report a host as served."""

    def subscribers(self, channel: Mapping[str, Any]) -> list[Told]:
        """Return what a dispatcher has reported of the delivery to each subscriber."""

    def with_subscribers(self, subscribers: Sequence[Told]) -> dict[str, Any]:
        """Return the fields that report the delivery to each subscriber."""


class EventingStatus:
    """``status`` of a Channel of ``eventing.knative.dev/v1alpha1``, as in Knative v0.5 and v0.6."""

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
