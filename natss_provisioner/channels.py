"""Reads a Channel: which provisioner it has, and what is wrong with it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from natss.contract.channel_kinds import api_of, kind_of
from natss.contract.documents import desired_state
from natss.contract.eventing import API_VERSION
from natss.contract.fields import Refused, fields
from natss.contract.names import PROVISIONER
from natss.contract.reports import Report
from natss.contract.resources import Defaults, Problem
from natss.document import Document

_INSTEAD = "what held before, or else the dispatcher's default, is used instead"
"""The Event of the dispatcher reports the value itself."""


@dataclass(frozen=True, slots=True)
class ChannelReading:
    """The result of reading a Channel."""

    problems: tuple[Problem, ...]
    """Mistakes and hints."""

    usable: bool
    """Whether events can be stored for it; if not, the last problem says why."""


def is_for_us(channel: Document) -> bool:
    """Return whether a Channel is for ``natss``, with or without kind and apiVersion; never raise.

    This includes a Channel whose name cannot be used: this program has to report that.
    """
    kind = kind_of(channel.get("apiVersion"), channel.get("kind"))
    try:
        return kind is not None and api_of(kind).is_ours(fields(channel, "", Report(kind.title)))
    except Refused:  # without provisioner, or one that cannot be read
        return False


def read(channel: Document, cluster_domain: str) -> ChannelReading:
    """Read a Channel of ``natss``, except its status; never raise."""
    state = desired_state([("", channel)], Defaults(cluster_domain=cluster_domain))
    problems = tuple(
        _without_guess(each) for each in state.problems if not each.path.startswith("status")
    )
    return ChannelReading(problems, bool(state.channels) or not problems)


def _without_guess(problem: Problem) -> Problem:
    """Word a problem without the replacement value, which only the dispatcher's settings give."""
    if problem.consequence and problem.path.startswith("spec.arguments."):
        return replace(problem, consequence=_INSTEAD)
    return problem


def provisioner_of(channel: Document) -> Document:
    """Return ``spec.provisioner`` with all that may be omitted; empty if there is none."""
    spec = channel.get("spec")
    reference = spec.get("provisioner") if isinstance(spec, Mapping) else None
    if not isinstance(reference, Mapping):
        return {}
    given = {key: value for key, value in reference.items() if value}
    return {**_FULL_REFERENCE, **given} if given else {}


def default_provisioner() -> Document:
    """Return the reference to ``natss``, as Knative's own webhook filled it in."""
    return {**_FULL_REFERENCE, "name": PROVISIONER}


_FULL_REFERENCE = {"apiVersion": API_VERSION, "kind": "ClusterChannelProvisioner"}
