"""Kubernetes Events of what happened: on the Channel that it happened to, else on the provisioner.

What happened to one subscriber is told on its Subscription as well, where its owner looks. That
needs no right to read Subscriptions: what an Event has to say of one stands in the Channel.

What concerns the dispatcher as a whole, as a lost connection, is told on the
ClusterChannelProvisioner ``natss``: there is one, it stays while pods come and go, and it is where
a person looks who finds that no channel works. On every Channel it would be a thousand Events for
one fault.
"""

import asyncio
import socket

import structlog

from dispatcher.cluster.channel_table import ChannelTable
from dispatcher.reporting.occurrences import Occurrence, write_log
from natss.contract.labels import object_labels
from natss.contract.names import PROVISIONER
from natss.document import Document
from natss.knative import PROVISIONERS, SUBSCRIPTIONS
from natss.kube import EventRecorder, EventType, KubeClient, KubeError, NotFound

log = structlog.get_logger(__name__)

_WAITING = 1000
"""Occurrences that may wait to be written; the API is slow or away if there are more."""


class Events:
    """Writes occurrences as Events, one after another, not faster than the API takes them.

    Args:
        client: May create, get and patch events, and get the provisioner.
        table: The Channels that there are.
        component: The program.
    """

    def __init__(self, client: KubeClient, table: ChannelTable, component: str) -> None:
        self._client = client
        self._table = table
        self._instance = socket.gethostname()
        self._recorder = EventRecorder(
            client,
            component=component,
            instance=self._instance,
            logs=False,
            labels=object_labels,
        )
        self._waiting: asyncio.Queue[Occurrence] = asyncio.Queue(_WAITING)
        self._failure: type[KubeError] | None = None

    def tell(self, occurrence: Occurrence) -> None:
        """Log it and have it written; of too many the latest are only logged."""
        write_log(occurrence)
        try:
            self._waiting.put_nowait(occurrence)
        except asyncio.QueueFull:
            log.debug("event dropped, too many wait", reason=occurrence.reason)

    async def run(self) -> None:
        """Write until cancelled; never fails for an error of the API."""
        while True:
            occurrence = await self._waiting.get()
            try:
                await self._write(occurrence)
                self._failure = None
            except KubeError as error:
                if type(error) is not self._failure:
                    message = "Kubernetes Events cannot be written (delivery goes on)"
                    log.warning(message, reason=str(error))
                self._failure = type(error)
            except Exception:  # a fault of ours must not end all Events
                log.exception("an event broke", reason=occurrence.reason)

    async def _write(self, occurrence: Occurrence) -> None:
        try:
            about = await self._about(occurrence)
        except NotFound:  # at the first installation the provisioner may come last
            return
        if about is None:
            return
        kind = EventType.WARNING if occurrence.is_warning else EventType.NORMAL
        message = occurrence.full_message
        if occurrence.channel is None:
            message = f"{self._instance}: {message}"
        await self._recorder.record(about, kind, occurrence.reason, message)
        subscription = _subscription(occurrence)
        if subscription is not None:
            await self._recorder.record(subscription, kind, occurrence.reason, occurrence.message)

    async def _about(self, occurrence: Occurrence) -> Document | None:
        """The object that it is told of; None if it is a Channel that has gone.

        Raises:
            NotFound: there is no provisioner.
            KubeError: that cannot be found out.
        """
        if occurrence.channel is None:
            return await self._client.get(PROVISIONERS, PROVISIONER)
        entry = self._table.get(occurrence.channel)
        return None if entry is None else entry.document


def _subscription(occurrence: Occurrence) -> Document | None:
    """The Subscription that it is about, as far as an Event needs it; None if there is none.

    Whoever may write a Channel chooses what its entries refer to. None has a say in the namespaces
    of others, where no Subscription to this Channel can be.
    """
    channel, subscriber = occurrence.channel, occurrence.subscriber
    if channel is None or subscriber is None or subscriber.uid is None:
        return None
    if subscriber.ref.namespace != channel.namespace:
        return None
    return {
        "apiVersion": SUBSCRIPTIONS.api_version,
        "kind": SUBSCRIPTIONS.kind,
        "metadata": {
            "name": subscriber.ref.name,
            "namespace": subscriber.ref.namespace,
            "uid": subscriber.uid,
        },
    }
