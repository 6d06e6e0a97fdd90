"""Channels as the Kubernetes API sends them to the dispatcher, with any ``spec`` and ``status``.

Whatever they hold: the table accepts them, in any order; its content is kept in a file and found
there again; hosts are served, status is reported, and durables are recorded, without an exception
that would end the watching of all others.
"""

import orjson

from dispatcher.cluster import annotation
from dispatcher.cluster.channel_table import ChannelTable
from dispatcher.durables.ledger import Ledger
from dispatcher.ingress.routing import Router, RoutingTable
from dispatcher.reporting.verdicts import READY
from dispatcher.reporting.wanted_status import WantedStatus
from dispatcher.runtime.metrics import Metrics
from dispatcher.runtime.state_folder import StateFolder
from natss.contract.resources import Defaults
from tests.fuzz.drawing import Draws
from tests.fuzz.objects import WORDS, channel, of_the_api
from tests.fuzz.target import Target, expect
from tests.fuzz.targets.desired_state import judge


def run(data: bytes) -> None:
    draws = Draws(data, WORDS)
    table = ChannelTable(Defaults())
    for number in range(1 + draws.below(4)):
        document = channel()
        document["metadata"]["name"] = draws.choice(("orders", "orders", "mail"))
        document["metadata"]["resourceVersion"] = str(number)
        document = of_the_api(draws, document)
        if draws.below(6) == 5:
            table.discard(document)
        else:
            table.put(document)
        _use(table)
    _keep(table)
    _load_anything(draws)


def _use(table: ChannelTable) -> None:
    state = table.state()
    judge(state)
    metrics = Metrics()
    routes = RoutingTable.build(state.channels.values(), metrics.channel)
    wanted = WantedStatus(Router(routes), lambda _: READY)
    for entry in table:
        status = wanted(entry)
        expect(orjson.dumps({"status": status}), "a status that cannot be written")
        expect(entry.finalizers is not None and entry.uid, "no identity", entry)
        records = dict(entry.recorded or {})
        rendered = annotation.parse(entry.name, annotation.render(records.values()))
        expect(rendered == records, "recorded otherwise than read", rendered, records)


def _keep(table: ChannelTable) -> None:
    """Check that what is dumped is JSON, and the same when it is read again."""
    dumped = orjson.loads(orjson.dumps(table.dump()))
    again = ChannelTable(Defaults())
    for _ in again.load(dumped):
        pass
    # Where something is wrong, the previous state is known in memory alone.
    kept = {e.name: e.channel for e in table if e.channel is not None and not e.problems}
    found = {entry.name: entry.channel for entry in again if not entry.problems}
    expect(found == kept, "kept otherwise than told", found, kept)


class _Folder(StateFolder):
    """Holds whatever a former process may have left."""

    def __init__(self, value: object) -> None:
        super().__init__(None)
        self._value = value

    def read(self, name: str) -> object:
        return self._value


def _load_anything(draws: Draws) -> None:
    value = draws.json()
    Ledger(_Folder([value, {"channel": ["a", "b"], "subscription": value}]), 60.0)
    try:
        for _ in ChannelTable(Defaults()).load(
            {"channels": [of_the_api(draws, channel()), value], "version": value}
        ):
            pass
    except (LookupError, TypeError, ValueError):
        pass


TARGET = Target(
    "cluster_channels",
    run,
    seeds=(
        bytes(20),
        *(bytes((0, 0, 1, 4, 0, 1 + number, 1)) for number, _ in enumerate(WORDS)),
        bytes((1, 0, 1, 1, 2, 40, 2, 4)),
        bytes((3, 1, 4, 2, 3, 7, 11, 255, 255)),
    ),
    longest=400,
)
