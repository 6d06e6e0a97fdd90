"""Follows the channels of one kind and keeps a table of them up to date."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from contextlib import aclosing

import structlog

from dispatcher.cluster.channel_table import Belief, ChannelTable
from dispatcher.runtime.turns import Turns
from natss.contract.channel_id import ChannelKind
from natss.knative import channel_id, channel_resource
from natss.kube import Changed, Failed, KubeClient, KubeError, Listing, follow

log = structlog.get_logger(__name__)


class Follower:
    """Follows the channels of one kind, in all namespaces.

    Args:
        client: The client of the Kubernetes API.
        table: Gets the channels as the API reports them.
        kind: The kind of the channels.
        changed: Called when something in the table may have changed.
        empty_is_true: In seconds: after a list was suddenly empty, it is requested again after this
            time and then believed.

    Attributes:
        answered: Set once the API has listed the channels, or has failed while some of
            the kind are known all the same.
        last_error: Why they cannot be followed; None while they can.
    """

    def __init__(
        self,
        client: KubeClient,
        table: ChannelTable,
        kind: ChannelKind,
        changed: Callable[[], None],
        *,
        empty_is_true: float,
    ) -> None:
        self.kind = kind
        self.answered = asyncio.Event()
        self.last_error: str | None = None
        self._client = client
        self._table = table
        self._changed = changed
        self._empty_is_true = empty_is_true
        self._doubts = False

    async def run(self) -> None:
        """Follow until cancelled."""
        resource = channel_resource(self.kind)
        while True:
            with contextlib.suppress(TimeoutError):
                async with (
                    asyncio.timeout(None) as patience,
                    aclosing(follow(self._client, resource)) as news,
                ):
                    turns = Turns()
                    async for each in news:
                        await self._take(each, patience)
                        await turns.piece_done()

    async def _take(self, news: Listing | Changed | Failed, patience: asyncio.Timeout) -> None:
        """Handle what the API reports; end patience when the list has to be requested again."""
        match news:
            case Listing():
                belief = await self._take_all(news)
                self._doubts = belief is not Belief.TAKEN
                loop = asyncio.get_running_loop()
                patience.reschedule(loop.time() + self._empty_is_true if self._doubts else None)
                self.answered.set()
            case Changed(document, deleted):
                take = self._table.discard if deleted else self._table.put
                if take(document):
                    self._changed()
            case Failed(error):
                self._table.blind_since.setdefault(self.kind, time.time())
                self._tell(error)
                if any(entry.name.kind == self.kind for entry in self._table):
                    self.answered.set()

    async def _take_all(self, listing: Listing) -> Belief:
        is_behind = self._table.is_behind(self.kind, listing.version)
        names = set()
        turns = Turns()
        for document in listing.documents:
            names.add(channel_id(document))
            self._table.put(document, even_if_older=is_behind)
            await turns.piece_done()
        self._table.blind_since.pop(self.kind, None)
        belief = self._table.drop_missing(
            self.kind, names, listing.version, empty_is_true=self._doubts and not is_behind
        )
        if belief is not Belief.TAKEN and not self._doubts:
            log.warning(
                "channels are missing in a list, kept until that is sure", reason=belief.value
            )
        if self.last_error is not None:
            log.info("the Kubernetes API answers again")
            self.last_error = None
        self._changed()
        return belief

    def _tell(self, error: KubeError) -> None:
        """Log why the API cannot be followed, once for each reason."""
        if str(error) != self.last_error:
            log.warning(
                "the Kubernetes API fails, going on with the channels as they are",
                reason=str(error),
            )
        self.last_error = str(error)
