"""A second kind of channel, which exists in tests only."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from natss.contract.channel_id import ChannelId, ChannelKind, ChannelNames
from natss.contract.channel_kinds import APIS, ChannelApi
from natss.contract.eventing import CHANNEL
from natss.contract.names import channel_service_name

_PREFIX = "_other."


def _of_subject(subject: str) -> tuple[str, str] | None:
    if not subject.startswith(_PREFIX):
        return None
    name, _, namespace = subject.removeprefix(_PREFIX).rpartition(".")
    return namespace, name


OTHER = ChannelKind(
    group="messaging.example.com",
    kind="OtherChannel",
    version="v1",
    plural="otherchannels",
    mark="OtherChannel",
    names=ChannelNames(
        subject=lambda namespace, name, _: f"{_PREFIX}{name}.{namespace}",
        of_subject=_of_subject,
        host=lambda namespace, name, domain: f"{name}.{namespace}.others.{domain}",
        service=lambda namespace, name: f"other-{channel_service_name(namespace, name)}",
        durable=lambda _, namespace, name: f"{name}.{namespace}",
    ),
)

RIVAL = replace(OTHER, kind="RivalChannel", mark="RivalChannel", names=CHANNEL.names)
"""Has the same names as Channels of ``eventing.knative.dev``, subjects and hosts included."""


def other_id(namespace: str, name: str) -> ChannelId:
    return ChannelId(OTHER, namespace, name)


def api_of_test(kind: ChannelKind) -> ChannelApi:
    """Return an API whose documents are those of a Channel, except for the provisioner."""
    return replace(APIS[0], kind=kind, is_ours=lambda _: True)


@contextmanager
def known(*kinds: ChannelKind) -> Iterator[None]:
    """Add these kinds to the known ones."""
    before = list(APIS)
    APIS.extend(map(api_of_test, kinds))
    try:
        yield
    finally:
        APIS[:] = before


def document(kind: ChannelKind, name: str = "orders", **metadata: Any) -> dict[str, Any]:
    """Return a channel in the namespace ``shop`` with one subscriber."""
    subscriber = {"uid": f"u-{kind.kind}", "subscriberURI": "http://mail.shop/"}
    spec: dict[str, Any] = {"subscribable": {"subscribers": [subscriber]}}
    if kind == CHANNEL:
        spec["provisioner"] = {"name": "natss"}
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": {
            "name": name,
            "namespace": "shop",
            "uid": f"uid-of-{kind.kind}-{name}",
            "resourceVersion": "10",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            **metadata,
        },
        "spec": spec,
    }
