"""A Channel whose record of durables somebody else changes while it is being written here."""

import asyncio
from typing import Any, cast

from dispatcher.cluster.annotation import DURABLES, parse, render
from dispatcher.cluster.channel_table import ChannelTable
from dispatcher.cluster.finalizers import Finalizers
from dispatcher.durables.ledger import DurableRecord, Ledger
from dispatcher.runtime.state_folder import NO_FOLDER
from natss.contract.resources import Defaults, ResourceName
from natss.kube import Conflict, KubeClient
from tests.support.channel_ids import channel_id

ORDERS = channel_id("shop", "orders")
MAIL = ResourceName("shop", "mail")


def channel(version: int, *records: DurableRecord) -> dict[str, Any]:
    """The Channel as the API tells it; its list has the uid ``u3`` of the Subscription."""
    entry = {"uid": "u3", "ref": {"name": "mail"}, "subscriberURI": "http://a/"}
    return {
        "apiVersion": "eventing.knative.dev/v1alpha1",
        "kind": "Channel",
        "metadata": {
            "name": "orders",
            "namespace": "shop",
            "uid": "u",
            "resourceVersion": str(version),
            "finalizers": ["natss-dispatcher"],
            "annotations": {DURABLES: render(records)},
        },
        "spec": {"provisioner": {"name": "natss"}, "subscribable": {"subscribers": [entry]}},
    }


class Api:
    """Refuses a write that is based on something old, as told by the watch meanwhile."""

    def __init__(self, table: ChannelTable, document: dict[str, Any]) -> None:
        self._table = table
        self.document = document
        self.comes_first: list[dict[str, Any]] = []
        self.has_written = asyncio.Event()

    async def patch(self, _: object, _name: str, body: dict[str, Any], _namespace: str) -> Any:
        await asyncio.sleep(0)
        if self.comes_first:
            self.document = self.comes_first.pop()
            self._table.put(self.document)  # the watch; what is applied of it comes later
        metadata = self.document["metadata"]
        if body["metadata"]["resourceVersion"] != metadata["resourceVersion"]:
            raise Conflict(409, "Conflict", "the object has been modified")
        new = {**metadata, **body["metadata"]}
        new["resourceVersion"] = str(int(metadata["resourceVersion"]) + 1)
        self.document = {**self.document, "metadata": new}
        self.has_written.set()
        return self.document

    def recorded(self) -> dict[str, DurableRecord]:
        return parse(ORDERS, self.document["metadata"]["annotations"][DURABLES]) or {}


async def test_a_write_takes_nothing_back_that_another_process_has_just_recorded() -> None:
    """That one has opened ``u1``, and has wanted ``u2``, which nobody here has ever seen."""
    first = DurableRecord(ORDERS, MAIL, "u1", since=5.0)
    table, ledger = ChannelTable(Defaults()), Ledger(NO_FOLDER, 60.0)
    api = Api(table, channel(1, first))
    finalizers = Finalizers(cast("KubeClient", api), table, ledger, ledger.emptied, lambda: None)
    ledger.note_session(is_open=True)
    table.put(api.document)
    api.comes_first.append(
        channel(2, DurableRecord(ORDERS, MAIL, "u1"), DurableRecord(ORDERS, MAIL, "u2"))
    )
    try:
        for entry in table:
            finalizers.look_at(entry)
        async with asyncio.timeout(5):
            await api.has_written.wait()
    finally:
        await finalizers.close()
    since = {each.durable: each.since for each in api.recorded().values()}
    assert (since["u1"], since["u2"]) == (None, None)
    assert since["u3"] is not None
