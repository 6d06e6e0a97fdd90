"""Kinds of objects and where the API serves them. Pure.

All paths and label selectors of requests are built here. Their parts may come from what anybody
wrote into an object; a part that is not a name is refused. What remains consists of letters,
digits, and ``-``, ``.`` and ``_``: nothing that needs quoting.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from natss.kube.errors import InvalidName

_MAX_NAME = 253
_MAX_LABEL = 63

_DNS_LABEL = "[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
_DNS_NAME = re.compile(rf"{_DNS_LABEL}(?:\.{_DNS_LABEL})*")
_LABEL_VALUE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind of object in one version of its API group; the core group is the empty string."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(
        self, namespace: str | None = None, name: str | None = None, subresource: str | None = None
    ) -> str:
        """Return the path of one object, or of all objects.

        Args:
            namespace: Omit it for all namespaces, and for cluster-scoped objects.
            name: Omit it for the collection.
            subresource: Such as ``status``.

        Raises:
            InvalidName: a part of it is not a name.
        """
        parts = ["apis", _dns_name("API group", self.group)] if self.group else ["api"]
        parts.append(_dns_label("API version", self.version))
        if self.namespaced and namespace is not None:
            parts += ["namespaces", _dns_label("namespace", namespace)]
        parts.append(_dns_label("kind of objects", self.plural))
        if name is not None:
            parts.append(_dns_name(self.kind, name))
        if subresource is not None:
            parts.append(_dns_label("subresource", subresource))
        return "/" + "/".join(parts)


def label_selector(labels: Mapping[str, str]) -> str:
    """Return the selector of the objects that have all of these labels.

    Raises:
        InvalidName: one of them is not a label.
    """
    return ",".join(f"{_label_key(key)}={_label_value(value)}" for key, value in labels.items())


def _dns_name(what: str, text: str) -> str:
    """Check a name as the API does (RFC 1123): labels may have any length."""
    if len(text) > _MAX_NAME or not _DNS_NAME.fullmatch(text):
        raise _invalid(what, text)
    return text


def _dns_label(what: str, text: str) -> str:
    if len(text) > _MAX_LABEL or "." in text:
        raise _invalid(what, text)
    return _dns_name(what, text)


def _label_key(text: str) -> str:
    prefix, slash, name = text.rpartition("/")
    if slash:
        _dns_name("prefix of a label", prefix)
    if not name:
        raise _invalid("label", text)
    _label_value(name)
    return text


def _label_value(text: str) -> str:
    if text and (len(text) > _MAX_LABEL or not _LABEL_VALUE.fullmatch(text)):
        raise _invalid("label", text)
    return text


def _invalid(what: str, text: str) -> InvalidName:
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    return InvalidName(f"{shown!a} cannot be the name of a {what} in Kubernetes")


SERVICES = Resource("", "v1", "services", "Service")
CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap")
EVENTS = Resource("", "v1", "events", "Event")
LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease")
