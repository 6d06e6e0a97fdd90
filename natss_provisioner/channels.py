"""What a Channel says of itself: whose it is, and what is wrong with it. Pure."""

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
"""The value itself is told by the Event of the dispatcher."""


@dataclass(frozen=True, slots=True)
class ChannelReading:
    """What came of reading a Channel."""

    problems: tuple[Problem, ...]
    """What is wrong, and hints."""

    usable: bool
    """Whether events can be stored for it; if not, the last problem says why."""


def is_for_us(channel: Document) -> bool:
    """Whether a Channel is of ``natss``, with or without kind and apiVersion; never raises.

    Also if its name is one that we cannot use: then it is ours to say so.
    """
    kind = kind_of(channel.get("apiVersion"), channel.get("kind"))
    try:
        return kind is not None and api_of(kind).is_ours(fields(channel, "", Report(kind.title)))
    except Refused:  # without provisioner, or one that cannot be read
        return False


def read(channel: Document, cluster_domain: str) -> ChannelReading:
    """Read a Channel of ``natss``; never raises. What its status says is no matter here."""
    state = desired_state([("", channel)], Defaults(cluster_domain=cluster_domain))
    problems = tuple(
        _without_guess(each) for each in state.problems if not each.path.startswith("status")
    )
    return ChannelReading(problems, bool(state.channels) or not problems)


def _without_guess(problem: Problem) -> Problem:
    """What a wrong argument is replaced by follows from settings that only the dispatcher knows."""
    if problem.consequence and problem.path.startswith("spec.arguments."):
        return replace(problem, consequence=_INSTEAD)
    return problem


def provisioner_of(channel: Document) -> Document:
    """``spec.provisioner`` with what may be left out; empty if there is none."""
    spec = channel.get("spec")
    reference = spec.get("provisioner") if isinstance(spec, Mapping) else None
    if not isinstance(reference, Mapping):
        return {}
    given = {key: value for key, value in reference.items() if value}
    return {**_FULL_REFERENCE, **given} if given else {}


def default_provisioner() -> Document:
    """The reference to ``natss``, as Knative's own webhook filled it in."""
    return {**_FULL_REFERENCE, "name": PROVISIONER}


_FULL_REFERENCE = {"apiVersion": API_VERSION, "kind": "ClusterChannelProvisioner"}
