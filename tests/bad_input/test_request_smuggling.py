"""Nobody smuggles a request past a proxy: every known way, on a real socket of the HTTP server."""

import base64
import json

import pytest

from dispatcher.ingress.context import Services
from dispatcher.ingress.limits import IngressLimits
from dispatcher.ingress.routing import Router, RoutingTable
from dispatcher.ingress.server import Ingress
from dispatcher.runtime.metrics import Metrics
from natss.contract.resources import Channel
from tests.bad_input.smuggling import CASES, NEXT, Smuggling, statuses_of
from tests.support.event_loops import BOTH
from tests.support.fakes import FakeSink
from tests.support.publishers import HOST, ORDERS

EVENT_LOOPS = BOTH


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_what_is_ambiguous_is_refused_and_nothing_after_it_is_taken(case: Smuggling) -> None:
    metrics, sink = Metrics(), FakeSink(instant=True)
    table = RoutingTable.build([Channel(ORDERS, (HOST,))], metrics.channel)
    services = Services(Router(table), sink, metrics)
    ingress = Ingress(services, IngressLimits())
    port = await ingress.start("127.0.0.1", 0)
    try:
        statuses = await statuses_of(port, case.data + NEXT)
    finally:
        await ingress.close()
    stored = [json.loads(event) for _, event in sink.calls]
    bodies = tuple(base64.b64decode(event.get("payload", "")) for event in stored)
    assert (tuple(statuses), bodies) == (case.statuses, case.bodies)
    assert all("evil" not in event["headers"].values() for event in stored)
