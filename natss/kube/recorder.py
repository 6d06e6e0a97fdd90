"""Kubernetes Events: what ``kubectl describe`` tells a person about an object.

Events are best effort. One that cannot be written is dropped, with a line in the log for the first
in a row, and what would flood the API is held back; programs should look at the conditions in
``status``.
"""

import enum
import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import structlog

from natss.document import Document
from natss.kube.client import KubeClient
from natss.kube.errors import AlreadyExists, KubeError, NotFound
from natss.kube.resources import EVENTS

log = structlog.get_logger(__name__)

_BURST = 10
_REFILL_SECONDS = 60.0
_REMEMBERED = 4096
_MESSAGES_REMEMBERED = 32
"""For one object and reason. A forgotten message is found in the API if it is recorded again."""

_MAX_MESSAGE = 1024
"""The API refuses longer ones."""


class EventType(enum.Enum):
    """The type of an Event, as kubectl shows it."""

    NORMAL = "Normal"
    WARNING = "Warning"


_LEVELS = {EventType.NORMAL: logging.INFO, EventType.WARNING: logging.WARNING}


@dataclass(slots=True)
class _Subject:
    """What was recorded about one object lately, with one reason."""

    allowance: float = float(_BURST)
    refilled: float = 0.0
    counts: dict[str, int] = field(default_factory=dict)
    """How often each Event was written, by its name."""

    def note(self, event: str, count: int) -> None:
        """Keep it as the latest; messages may differ each time, for example in a number."""
        self.counts.pop(event, None)
        self.counts[event] = count
        if len(self.counts) > _MESSAGES_REMEMBERED:
            del self.counts[next(iter(self.counts))]


def _labels(kind: str, name: str) -> Mapping[str, str]:
    return {"object": f"{kind} {name}"}


def _name(about: Document) -> str:
    metadata = about["metadata"]
    parts = [metadata["namespace"]] if "namespace" in metadata else []
    return "/".join([*parts, metadata["name"]])


class EventRecorder:
    """Writes Events in the name of one program, and their text to the log as well.

    For one object and reason, ten in a row are written, then one a minute. A repeated Event raises
    the count of the first.

    Args:
        client: Needs to create and patch events.
        component: The program.
        instance: Which of its replicas, such as the name of the pod.
        clock: In seconds; monotonic.
        logs: Whether to log each Event; otherwise the caller does.
        labels: How the log names an object, given its kind and ``namespace/name``.
    """

    def __init__(
        self,
        client: KubeClient,
        *,
        component: str,
        instance: str,
        clock: Callable[[], float] = time.monotonic,
        logs: bool = True,
        labels: Callable[[str, str], Mapping[str, str]] = _labels,
    ) -> None:
        self._client = client
        self._component = component
        self._instance = instance
        self._clock = clock
        self._logs = logs
        self._labels = labels
        self._subjects: OrderedDict[tuple[str, str], _Subject] = OrderedDict()
        self._failure: type[KubeError] | None = None

    async def record(self, about: Document, kind: EventType, reason: str, message: str) -> None:
        """Record an Event about an object; never raise an error of the API.

        Args:
            about: The object, with kind, apiVersion and metadata.
            kind: Normal or Warning.
            reason: One word in CamelCase, the same for every object.
            message: For people.
        """
        fields = {**self._labels(about["kind"], _name(about)), "reason": reason}
        subject = self._subject(about["metadata"]["uid"], reason)
        if not self._may_write(subject):
            log.debug("an Event is held back: too many like it of one object", **fields)
            return
        if self._logs:
            log.log(_LEVELS[kind], "reported", **fields, message=message)
        event = self._event(about, kind, reason, message[:_MAX_MESSAGE])
        name = event["metadata"]["name"]
        try:
            subject.note(name, await self._write(event, subject.counts.get(name, 0)))
            self._failure = None
        except KubeError as error:
            level = logging.DEBUG if type(error) is self._failure else logging.WARNING
            log.log(level, "an Event could not be written", **fields, error=str(error))
            self._failure = type(error)

    async def _write(self, event: Document, written: int) -> int:
        """Write it for the first time or count it; return how often it has been written."""
        if not written:
            try:
                await self._client.create(EVENTS, event, event["metadata"]["namespace"])
            except AlreadyExists:  # written by an earlier run of this program
                written = 1
            else:
                return 1
        try:
            return await self._count(event, written)
        except NotFound:  # the API forgets Events after an hour
            return await self._write(event, 0)

    async def _count(self, event: Document, written: int) -> int:
        name, namespace = event["metadata"]["name"], event["metadata"]["namespace"]
        if written == 1:
            stored = await self._client.get(EVENTS, name, namespace)
            written = stored.get("count") or 1
        change = {"count": written + 1, "lastTimestamp": event["lastTimestamp"]}
        await self._client.patch(EVENTS, name, change, namespace)
        return written + 1

    def _event(self, about: Document, kind: EventType, reason: str, message: str) -> Document:
        metadata = about["metadata"]
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {
            "metadata": {
                "name": _event_name(about, kind, reason, message),
                "namespace": metadata.get("namespace") or "default",
            },
            "involvedObject": {
                "apiVersion": about["apiVersion"],
                "kind": about["kind"],
                "name": metadata["name"],
                "namespace": metadata.get("namespace"),
                "uid": metadata["uid"],
                "resourceVersion": metadata.get("resourceVersion"),
            },
            "type": kind.value,
            "reason": reason,
            "message": message,
            "count": 1,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "source": {"component": self._component},
            "reportingComponent": self._component,
            "reportingInstance": self._instance,
        }

    def _subject(self, uid: str, reason: str) -> _Subject:
        subject = self._subjects.get((uid, reason))
        if subject is None:
            subject = self._subjects[uid, reason] = _Subject(refilled=self._clock())
            if len(self._subjects) > _REMEMBERED:
                self._subjects.popitem(last=False)
        else:
            self._subjects.move_to_end((uid, reason))
        return subject

    def _may_write(self, subject: _Subject) -> bool:
        now = self._clock()
        refill = (now - subject.refilled) / _REFILL_SECONDS
        subject.allowance = min(float(_BURST), subject.allowance + refill)
        subject.refilled = now
        if subject.allowance < 1:
            return False
        subject.allowance -= 1
        return True


def _event_name(about: Document, kind: EventType, reason: str, message: str) -> str:
    """Return the same name for the same Event, of this run or an earlier one of the program."""
    text = "\0".join([about["metadata"]["uid"], kind.value, reason, message])
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return f"{about['metadata']['name'][:200].rstrip('.-')}.{digest}"
