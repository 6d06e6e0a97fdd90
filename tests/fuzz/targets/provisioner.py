"""Objects as the Kubernetes API sends them to the provisioner, with any ``spec`` and ``status``.

Whatever they hold: they are noted, reconciled and reported, or refused with a ``KubeError``; what
is written is JSON; and once nothing is left to do, nothing is written.
"""

import asyncio
from collections.abc import Awaitable, Callable

from natss.contract.resources import ResourceName
from natss.document import Document
from natss.knative import name_of
from natss.kube import EventRecorder, KubeError
from natss_provisioner.children import DispatcherPlace
from natss_provisioner.claims import Claims
from natss_provisioner.controller import _sight
from natss_provisioner.dependents import Dependents
from natss_provisioner.handlers import channel as channels
from natss_provisioner.handlers import provisioner as provisioners
from natss_provisioner.handlers import subscribers, subscription
from natss_provisioner.handlers.context import Context
from tests.fuzz.cluster import FakeCluster
from tests.fuzz.drawing import Draws
from tests.fuzz.objects import WORDS, channel, of_the_api
from tests.fuzz.objects import subscription as a_subscription
from tests.fuzz.target import Target, expect
from tests.support.channel_ids import channel_id

_NOW = "2026-01-02T03:05:00Z"
_ORDERS, _MAIL = channel_id("shop", "orders"), ResourceName("shop", "mail")
_ROUNDS = 6


def run(data: bytes) -> None:
    asyncio.run(_run(Draws(data, WORDS)))


async def _run(draws: Draws) -> None:
    cluster = FakeCluster()
    events = EventRecorder(cluster.as_client, component="fuzz", instance="one")
    place = DispatcherPlace("knative-eventing", "cluster.local")
    context = Context(cluster.as_client, events, place, now=lambda: _NOW)
    told = of_the_api(draws, channel()), of_the_api(draws, a_subscription())
    cluster.put("clusterchannelprovisioners", _provisioner(draws))
    cluster.put("channels", told[0])
    cluster.put("subscriptions", told[1])
    _note(*told)
    for _ in range(_ROUNDS):
        before = cluster.writes
        await _reconcile(context)
        _note(*told)
        if cluster.writes == before:
            return
    expect(cluster.writes == before, "writes again and again", cluster.objects)


async def _reconcile(context: Context) -> None:
    known = {"u-mail": _ORDERS}
    works: tuple[Callable[[], Awaitable[object]], ...] = (
        lambda: provisioners.reconcile(context, "natss"),
        lambda: channels.reconcile(context, _ORDERS),
        lambda: subscription.reconcile(context, _MAIL),
        lambda: subscribers.reconcile(context, _ORDERS, known),
        lambda: subscribers.reconcile(context, _ORDERS, {}),
    )
    for work in works:
        try:
            await work()
        except KubeError as error:
            expect(str(error), "an error without a text")


def _note(told: Document, asked: Document) -> None:
    """Note an object, as the controller does with each object that it sees."""
    claims = Claims()
    claims.put(told)
    dependents = Dependents()
    dependents.put(asked)
    expect(isinstance(dependents.has_unknown(told), bool), "not known whether it has unknown ones")
    list(dependents.unlike(told))
    dependents.kinds()
    expect(hash(_sight(told)) is not None, "a sight that cannot be compared")
    dependents.drop(name_of(asked))


def _provisioner(draws: Draws) -> Document:
    return of_the_api(
        draws,
        {
            "apiVersion": "eventing.knative.dev/v1alpha1",
            "kind": "ClusterChannelProvisioner",
            "metadata": {"name": "natss", "uid": "u-natss", "resourceVersion": "1"},
            "spec": {},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]},
        },
    )


TARGET = Target(
    "provisioner",
    run,
    seeds=(
        bytes(20),
        bytes((2, 0, 1, 3, 9, 2, 7, 1, 2)),
        bytes((4, 1, 2, 30, 2, 5, 3, 1, 30, 2, 7)),
    ),
    longest=400,
)
