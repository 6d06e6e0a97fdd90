"""What is kept and counted of a link that has trouble."""

import asyncio

import pytest

import natss.nats_streaming as ns
from dispatcher.runtime.metrics import Metrics
from dispatcher.stores.interface import (
    DurableName,
    LoginRefused,
    StoreError,
    StoreRefused,
    StoreUnavailable,
)
from dispatcher.stores.nats_streaming.session_keeper import SessionKeeper
from natss.nats_streaming import ConnectionOptions, NatsOptions
from tests.conftest import StartServer
from tests.support.data_plane import connection_options
from tests.support.servers import NatsStreamingServer, free_port
from tests.support.waiting import eventually

ACCOUNTS = "authorization { users = [{ user: me, password: right }] }"


def link(options: ConnectionOptions, metrics: Metrics) -> SessionKeeper:
    return SessionKeeper("publish", options, lambda _: None, metrics)


async def test_refused_credentials_are_counted_as_such_until_they_are_accepted(
    natss_server: StartServer,
) -> None:
    server = await natss_server(nats=ACCOUNTS, streaming='username: "me"\npassword: "right"')
    password = "wrong"
    nats = NatsOptions(servers=(server.url,), user="me", password=lambda: password)
    metrics = Metrics()
    subject = link(
        ConnectionOptions(cluster_id=server.cluster_id, client_id="tests", nats=nats), metrics
    )
    subject.start()
    try:

        async def is_counted() -> bool:
            return metrics.connect_failures["publish", "authentication"] >= 2

        await eventually(is_counted)
        assert isinstance(subject.failure, LoginRefused)
        assert "wrong" not in str(subject.last_error)
        password = "right"
        await asyncio.wait_for(subject.was_open.wait(), 15)
        assert subject.failure is None
    finally:
        await subject.close()


@pytest.mark.parametrize(
    ("error", "reason", "failure"),
    [
        (ns.AuthenticationFailed("no"), "authentication", LoginRefused),
        (ns.NatsUnreachable(("no",)), "unreachable", StoreUnavailable),
        (ns.TlsNotOffered("no"), "refused", StoreRefused),
    ],
)
def test_why_nats_is_not_reached_again_is_counted(
    error: ns.ConnectError, reason: str, failure: type[StoreError]
) -> None:
    metrics = Metrics()
    subject = link(connection_options_of_nobody(), metrics)
    subject._on_event(ns.ConnectionProblem(str(error), error))
    assert metrics.connect_failures == {("publish", reason): 1}
    told = (type(subject.failure), str(subject.failure), subject.last_error)
    assert told == (failure, str(error), str(error))
    down, up = ns.ConnectionState.RESTORING, ns.ConnectionState.OPEN
    subject._on_event(ns.StateChanged(down, up, ""))
    now = (subject.failure, subject.last_error)
    assert now == (None, None)


def connection_options_of_nobody() -> ConnectionOptions:
    nats = NatsOptions(servers=(f"nats://127.0.0.1:{free_port()}",))
    return ConnectionOptions(cluster_id="nobody", client_id="tests", nats=nats)


async def test_a_durable_that_is_not_open_again_is_known_until_it_is(
    memory_server: NatsStreamingServer, unique_name: str
) -> None:
    subject = link(connection_options(memory_server, unique_name), Metrics())
    subject.start()
    try:
        await asyncio.wait_for(subject.was_open.wait(), 15)
        connection = subject.connection
        assert connection is not None
        options = ns.SubscriptionOptions(durable="u1")
        subscription = await connection.subscribe(unique_name, lambda _: None, options)
        name = DurableName(unique_name, "u1")
        subject._on_event(ns.NotRestored(subscription, ns.SubscriptionLimitReached("no room")))
        assert "no room" in subject.not_restored[name]
        subject._on_event(ns.Restored(subscription))
        assert subject.not_restored == {}
    finally:
        await subject.close()
