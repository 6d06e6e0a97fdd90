"""Two channels that want one subject: the condition of the younger says which channel has it."""

from collections.abc import Iterator

import pytest

from natss.contract.channel_id import ChannelId, ChannelKind
from natss.contract.eventing import CHANNEL
from natss.contract.names import DISPATCHER_FINALIZER, EPOCH_ANNOTATION
from natss.document import Document
from natss.kube import EventRecorder
from natss_provisioner.children import DispatcherPlace
from natss_provisioner.handlers import channel as channels
from natss_provisioner.handlers.context import Context
from natss_provisioner.subject_claims import SubjectClaims
from tests.fuzz.cluster import FakeCluster
from tests.support.channel_ids import channel_id
from tests.support.other_kind import RIVAL, document, known

ONE, TWO = channel_id("shop", "orders"), ChannelId(RIVAL, "shop", "orders")
OLD, NEW = "2019-01-01T00:00:00Z", "2024-01-01T00:00:00Z"


@pytest.fixture(autouse=True)
def _two_kinds() -> Iterator[None]:
    with known(RIVAL):
        yield


def held(kind: ChannelKind, created: str, epoch: str = "") -> Document:
    """Return a channel that a dispatcher serves."""
    return document(
        kind,
        creationTimestamp=created,
        finalizers=[DISPATCHER_FINALIZER],
        annotations={EPOCH_ANNOTATION: epoch} if epoch else {},
    )


def test_the_older_has_the_subject_and_both_hear_of_each_other() -> None:
    claims = SubjectClaims()
    assert claims.put(held(RIVAL, NEW)) == set()
    assert claims.owner(TWO) == TWO
    assert claims.put(held(CHANNEL, OLD)) == {TWO}
    assert claims.owner(TWO) == claims.owner(ONE) == ONE
    assert claims.put(held(CHANNEL, OLD)) == {TWO}, "as it was before"
    assert claims.drop(ONE) == {TWO}
    assert claims.owner(TWO) == TWO
    assert claims.drop(ONE) == set()


def test_of_two_of_one_age_it_is_the_first_kind() -> None:
    claims = SubjectClaims()
    claims.put(held(RIVAL, NEW))
    claims.put(held(CHANNEL, NEW))
    assert claims.owner(TWO) == claims.owner(ONE) == ONE


def test_nobody_claims_before_a_dispatcher_has_taken_it_up() -> None:
    """It may still get an epoch, and with that a subject of its own."""
    claims = SubjectClaims()
    claims.put(held(RIVAL, NEW))
    assert claims.put(document(CHANNEL, creationTimestamp=OLD)) == set()
    assert claims.owner(TWO) == TWO
    assert claims.put(held(CHANNEL, OLD, epoch="e1")) == set()
    assert claims.owner(TWO) == TWO


def test_one_that_moves_to_another_subject_leaves_the_first() -> None:
    claims = SubjectClaims()
    claims.put(held(CHANNEL, OLD))
    claims.put(held(RIVAL, NEW))
    assert claims.put(held(CHANNEL, OLD, epoch="e1")) == {TWO}
    assert claims.owner(TWO) == TWO


def test_all_of_a_kind_are_forgotten_together() -> None:
    claims = SubjectClaims()
    claims.put(held(CHANNEL, OLD))
    claims.put(held(RIVAL, NEW))
    claims.forget(CHANNEL)
    assert claims.owner(TWO) == TWO


async def test_the_condition_says_which_channel_has_the_subject() -> None:
    cluster = FakeCluster()
    cluster.put("channels", held(CHANNEL, NEW))
    conditions = [{"type": "Ready", "status": "True"}]
    natss = {"metadata": {"name": "natss"}, "status": {"conditions": conditions}}
    cluster.put("clusterchannelprovisioners", natss)
    events = EventRecorder(cluster.as_client, component="tests", instance="one")
    place = DispatcherPlace("knative-eventing", "cluster.local")
    context = Context(cluster.as_client, events, place)
    context.subjects.put(held(CHANNEL, NEW))
    context.subjects.put(held(RIVAL, OLD))

    async def provisioned() -> Document:
        await channels.reconcile(context, ONE)
        written = cluster.objects["channels", "shop", "orders"]["status"]["conditions"]
        found: dict[str, Document] = {each["type"]: each for each in written}
        return found["Provisioned"]

    told = await provisioned()
    assert (told["status"], told["reason"]) == ("False", "SubjectTaken")
    assert told["message"] == (
        "Its events would be stored under the subject orders.shop, which the older"
        " RivalChannel shop/orders has: delete one of the two"
    )
    context.subjects.drop(TWO)
    assert (await provisioned())["reason"] == "DispatcherNotReady"
