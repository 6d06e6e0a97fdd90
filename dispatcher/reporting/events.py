"""Kubernetes Events of what happened: on the Channel concerned, else on the provisioner.

What happened to one subscriber is recorded on its Subscription as well, where its owner looks. That
needs no right to read Subscriptions: the Channel has all that an Event needs of one.

What concerns the dispatcher as a whole, such as a lost connection, is recorded on the
ClusterChannelProvisioner ``natss``: there is one, it stays while pods come and go, and it is where
you look if no channel works. On every Channel it would be a thousand Events for one fault.
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
    """Writes occurrences as Events, one after another, no faster than the API accepts them.

    Args:
        client: May create, get and patch events, and get the provisioner.
        table: The existing Channels.
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
        """Log an occurrence and queue it; if too many wait, the latest are only logged."""
        write_log(occurrence)
        try:
            self._waiting.put_nowait(occurrence)
        except asyncio.QueueFull:
            log.debug("Event dropped, too many are waiting", reason=occurrence.reason)

    async def run(self) -> None:
        """Write until cancelled; never fail for an error of the API."""
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
            except Exception:  # a bug must not end all Events
                log.exception("an event broke", reason=occurrence.reason)

    async def _write(self, occurrence: Occurrence) -> None:
        try:
            about = await self._about(occurrence)
        except NotFound:  # at the first installation the provisioner may be created last
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
        """Return the object of the Event; None if it is a Channel that was deleted.

        Raises:
            NotFound: there is no provisioner.
            KubeError: the API could not answer.
        """
        if occurrence.channel is None:
            return await self._client.get(PROVISIONERS, PROVISIONER)
        entry = self._table.get(occurrence.channel)
        return None if entry is None else entry.document


def _subscription(occurrence: Occurrence) -> Document | None:
    """Return the Subscription concerned, as far as an Event needs it; None if there is none.

    Whoever may write a Channel chooses what its entries refer to. Threat: an Event in the namespace
    of others. So only a Subscription in the Channel's own namespace counts.
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
