"""Orphans: durables of Channels deleted while NATS Streaming was away, kept in a ConfigMap.

A deleted Channel must not wait for NATS Streaming, and its durable records disappear with it.
Therefore the records are written into a ConfigMap beside the dispatcher before the Channel is
released. The next process that gets the client id, in this pod or another, unsubscribes the
durables. Each has its own entry, so that replicas never overwrite each other's.
"""

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping

import structlog

from dispatcher.cluster.channel_table import ChannelTable
from dispatcher.durables.ledger import DurableRecord, Ledger
from dispatcher.runtime.tasks import BackgroundTasks
from natss.backoff import Backoff
from natss.contract.channel_id import ChannelId
from natss.contract.channel_kinds import kind_marked, kinds
from natss.contract.labels import channel_labels, subscription_labels
from natss.contract.names import is_dns_label, is_epoch
from natss.contract.resources import Defaults, ResourceName
from natss.knative import channel_resource
from natss.kube import CONFIG_MAPS, AlreadyExists, Invalid, KubeClient, KubeError, NotFound

log = structlog.get_logger(__name__)

CONFIG_MAP = "natss-dispatcher-orphans"

_FIRST_WAIT = 0.5
_LONGEST_WAIT = 30.0
"""In seconds between two attempts: doubled from the first to the longest."""


class Orphans:
    """Durables that outlive their Channels.

    Args:
        client: May get, create and patch the ConfigMap, and list Channels.
        namespace: The namespace of the ConfigMap.
        ledger: The durables of this process.
        defaults: The values that documents of Channels omit.
        patience: In seconds: how long a deleted Channel waits for its durables to be unsubscribed.
    """

    def __init__(
        self,
        client: KubeClient,
        namespace: str,
        ledger: Ledger,
        defaults: Defaults,
        *,
        patience: float = 5.0,
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._ledger = ledger
        self._defaults = defaults
        self._patience = patience
        self._last_error: str | None = None
        self._is_full = False
        self._followed: set[str] = set()
        self._tasks = BackgroundTasks()

    async def released(self, channel: ChannelId) -> None:
        """Wait until no durable of a deleted Channel is left, or all are kept for later.

        Raises:
            KubeError: The durables cannot be kept now.
        """
        try:
            async with asyncio.timeout(self._patience):
                await self._ledger.emptied(channel)
        except TimeoutError:
            records = {_key(record): record for record in self._ledger.of(channel)}
            if records:
                await self._keep({key: _value(record) for key, record in records.items()})
            about = channel_labels(channel)
            log.info("durables are unsubscribed later", **about, durables=len(records))
            for key, record in records.items():
                self._follow(key, record)

    async def run(self, adopted: Callable[[], None]) -> None:
        """Take care of the orphans each time this process gets the client id, until cancelled.

        Args:
            adopted: Called when there are durables to unsubscribe.
        """
        sessions = 0
        try:
            while True:
                await self._ledger.another_session(sessions)
                sessions = self._ledger.sessions
                await self._insist(lambda: self._sweep(adopted))
        finally:
            await self._tasks.close()

    async def _sweep(self, adopted: Callable[[], None]) -> None:
        """Adopt all orphans except those that a Channel created anew wants. Raises KubeError."""
        kept = await self._read()
        if not kept:
            return
        wanted = await self._wanted({record.channel.namespace for record in kept.values()})
        for key, record in kept.items():
            name = record.channel, record.durable
            if name not in wanted and self._ledger.adopt(record):
                about = subscription_labels(record.channel, record.ref)
                log.info("durable of a channel that is gone", **about, durable=record.durable)
            self._follow(key, record)
        adopted()

    def _follow(self, key: str, record: DurableRecord) -> None:
        if key not in self._followed:
            self._followed.add(key)
            self._tasks.start(self._drop(key, record), f"orphan {record.durable}")

    async def _drop(self, key: str, record: DurableRecord) -> None:
        """Remove a durable from the ConfigMap when this process is done with it.

        Without a session the entry stays, for the next process that has one.
        """
        try:
            await self._ledger.settled(record.channel, record.durable)
            if self._ledger.has_session:
                await self._insist(lambda: self._write({key: None}))
        finally:
            self._followed.discard(key)

    async def _wanted(self, namespaces: Iterable[str]) -> set[tuple[ChannelId, str]]:
        """Return the durables that Channels have now, as the API and not as a watch reports it."""
        wanted = set()
        for namespace in namespaces:
            channels = ChannelTable(self._defaults)
            for kind in kinds():
                for document in await self._client.list(channel_resource(kind), namespace):
                    channels.put(document)
            for entry in channels:
                if entry.channel is not None:
                    durables = [each.durable for each in entry.channel.subscribers]
                    durables += entry.channel.unserved.durables.values()
                    wanted |= {(entry.name, durable) for durable in durables}
        return wanted

    async def _read(self) -> Mapping[str, DurableRecord]:
        try:
            document = await self._client.get(CONFIG_MAPS, CONFIG_MAP, self._namespace)
        except NotFound:
            return {}
        data = document.get("data") or {}
        records = {key: _record(value) for key, value in data.items()}
        return {key: record for key, record in records.items() if record is not None}

    async def _keep(self, data: Mapping[str, str]) -> None:
        """Write these entries; log once if they are refused. Raises KubeError.

        The API accepts 1 MiB in a ConfigMap, which is thousands of durables.
        """
        try:
            await self._write(data)
        except Invalid as error:
            if not self._is_full:
                log.error(
                    "the ConfigMap takes no more orphaned durables:"
                    " deleted channels wait until NATS Streaming is back",
                    config_map=f"{self._namespace}/{CONFIG_MAP}",
                    reason=str(error),
                )
            self._is_full = True
            raise
        self._is_full = False

    async def _write(self, data: Mapping[str, str | None]) -> None:
        """Write these entries and leave the others unchanged. Raises KubeError."""
        body = {"data": dict(data)}
        try:
            await self._client.patch(CONFIG_MAPS, CONFIG_MAP, body, self._namespace)
        except NotFound:
            if not any(data.values()):
                return
            metadata = {
                "name": CONFIG_MAP,
                "labels": {"app.kubernetes.io/part-of": "natss-channel"},
            }
            document = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, **body}
            try:
                await self._client.create(CONFIG_MAPS, document, self._namespace)
            except AlreadyExists:
                await self._client.patch(CONFIG_MAPS, CONFIG_MAP, body, self._namespace)

    async def _insist(self, work: Callable[[], Awaitable[None]]) -> None:
        """Retry the work until the API accepts it."""
        backoff = Backoff(_FIRST_WAIT, _LONGEST_WAIT)
        while True:
            try:
                await work()
            except KubeError as error:
                if str(error) != self._last_error:
                    log.warning("orphaned durables wait, trying on", reason=str(error))
                self._last_error = str(error)
                await asyncio.sleep(backoff.next())
            else:
                self._last_error = None
                return


def _key(record: DurableRecord) -> str:
    """Return a key that a ConfigMap accepts, the same in each replica."""
    text = f"{record.channel}/{record.durable}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _value(record: DurableRecord) -> str:
    kind = record.channel.kind.mark
    return json.dumps(
        {
            **({"kind": kind} if kind else {}),
            "channel": f"{record.channel.namespace}/{record.channel.name}",
            "subscription": str(record.ref),
            "durable": record.durable,
            "subject": record.subject,
        }
    )


def _record(value: object) -> DurableRecord | None:
    """Return the record of an entry; None for one that another program has written."""
    try:
        entry = json.loads(str(value))
        name, ref = _name(entry["channel"]), _name(entry["subscription"])
        channel = ChannelId(kind_marked(entry.get("kind", "")), name.namespace, name.name)
        subject = _subject(channel, str(entry.get("subject", "")))
        return DurableRecord(channel, ref, str(entry["durable"]), subject=subject)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None


def _subject(channel: ChannelId, text: str) -> str:
    """Return the subject; raise ValueError if it is not one of the channel's."""
    plain = channel.subject()
    epoch = text.removeprefix(f"{plain}._")
    if text not in {"", plain} and (epoch == text or not is_epoch(epoch)):
        raise ValueError("is no subject of the channel")
    return text


def _name(text: str) -> ResourceName:
    """Return the name; raise ValueError if it is none, because it becomes part of requests."""
    namespace, name = text.split("/")
    if not is_dns_label(namespace) or not name:
        raise ValueError("is no name")
    return ResourceName(namespace, name)
