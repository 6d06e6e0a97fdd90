"""Follows the objects that Subscriptions name as subscribers, except Channels and Services.

Only the Subscriptions say which kinds these are. Objects that this program may not follow are still
read at intervals, by the handler of Subscriptions.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import aclosing

import structlog

from natss.document import Document
from natss.knative import name_of
from natss.kube import Changed, Failed, KubeClient, KubeError, Listing, follow
from natss_provisioner.dependents import DependentKind, ObjectName
from natss_provisioner.handlers.targets import address_of, resource_of

log = structlog.get_logger(__name__)

_MOST_KINDS = 20
"""Each kind takes a connection, and anybody may write a Subscription."""

_MOST_ASKED_FOR = 100
"""The most kinds that are requested, allowed or not: each costs one request a minute."""

_ASK_AGAIN = 60.0
"""In seconds: when a kind that may not be followed, or does not exist, is requested again; until
then it leaves its place to another kind.
"""


class References:
    """Follows kinds of objects.

    Args:
        client: May follow some kinds and not others.
        kinds: Returns the kinds wanted now; the first ones matter most if there are too many.
        moved: Called with an object whose address has changed, appeared or disappeared.
    """

    def __init__(
        self,
        client: KubeClient,
        kinds: Callable[[], Sequence[DependentKind]],
        moved: Callable[[ObjectName], None],
    ) -> None:
        self._client = client
        self._kinds = kinds
        self._moved = moved
        self._wanted: dict[DependentKind, None] = {}
        self._following: dict[DependentKind, asyncio.Task[None]] = {}
        self._waiting: set[DependentKind] = set()  # that were refused
        self._refusals: dict[DependentKind, str] = {}  # that were logged
        self._addresses: dict[DependentKind, dict[ObjectName, str]] = {}
        self._changed = asyncio.Event()

    def look(self) -> None:
        """Take notice that other kinds may be wanted now."""
        self._changed.set()

    async def run(self) -> None:
        """Follow the wanted kinds, until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._changed.clear()
                self._wanted = self._chosen()
                self._forget_unwanted()
                for kind in self._wanted:
                    is_new = kind not in self._following and kind not in self._waiting
                    if is_new and len(self._following) < _MOST_KINDS:
                        name = f"follow {kind.kind} of {kind.api_version}"
                        self._following[kind] = group.create_task(self._follow(kind), name=name)
                await self._changed.wait()

    def _chosen(self) -> dict[DependentKind, None]:
        """Return the kinds to follow, followed ones first: none loses its place to another."""
        named = self._kinds()
        ordered = sorted(named, key=lambda kind: kind not in self._following)
        return dict.fromkeys(ordered[:_MOST_ASKED_FOR])

    def _forget_unwanted(self) -> None:
        for kind in self._following.keys() - self._wanted.keys():
            self._following.pop(kind).cancel()
        for kind in self._addresses.keys() - self._wanted.keys():
            del self._addresses[kind]
        for kind in self._refusals.keys() - self._wanted.keys():
            del self._refusals[kind]

    async def _follow(self, kind: DependentKind) -> None:
        """Follow a kind until that is refused; then give up its place."""
        refusal = str(await self._follow_while_allowed(kind))
        if self._refusals.get(kind) != refusal:
            log.info(
                "objects that Subscriptions name are not followed",
                resource=f"{kind.kind} of {kind.api_version}",
                reason=refusal,
            )
        self._refusals[kind] = refusal
        del self._following[kind]
        self._waiting.add(kind)
        asyncio.get_running_loop().call_later(_ASK_AGAIN, self._has_waited, kind)
        self._changed.set()

    def _has_waited(self, kind: DependentKind) -> None:
        self._waiting.discard(kind)
        self._changed.set()

    async def _follow_while_allowed(self, kind: DependentKind) -> KubeError:
        resource = resource_of(kind.api_version, kind.kind)
        async with aclosing(follow(self._client, resource)) as news:
            async for each in news:
                match each:
                    case Listing(documents):
                        self._note_all(kind, documents)
                    case Changed(document, deleted):
                        if _can_be_named(document):
                            address = None if deleted else address_of(document)
                            self._note(ObjectName(kind, name_of(document)), address)
                    case Failed(error) if not error.retriable:
                        return error
        raise AssertionError("to follow has no end")

    def _note_all(self, kind: DependentKind, documents: Iterable[Document]) -> None:
        """Note all objects of a kind; a missing one disappeared while it was not followed."""
        found = {
            ObjectName(kind, name_of(document)): address_of(document)
            for document in documents
            if _can_be_named(document)
        }
        gone = self._addresses.get(kind, {}).keys() - found.keys()
        for name, address in (dict.fromkeys(gone) | found).items():
            self._note(name, address)

    def _note(self, name: ObjectName, address: str | None) -> None:
        addresses = self._addresses.setdefault(name.kind, {})
        if addresses.get(name) == address:
            return
        if address is None:
            del addresses[name]
        else:
            addresses[name] = address
        self._moved(name)


def _can_be_named(document: Document) -> bool:
    return bool(document["metadata"].get("namespace"))
