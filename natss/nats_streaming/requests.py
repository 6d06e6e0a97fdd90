"""The requests of a session and what their answers mean: one function per request.

Each sends one request over a link, waits, and raises the error of ``errors.py`` that the answer
stands for. Callers decide what to do about it.
"""

from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from natss.nats_streaming import refusals
from natss.nats_streaming.errors import ConnectRefused, ServerUnavailable, SessionLost
from natss.nats_streaming.link import Link
from natss.nats_streaming.options import ConnectionOptions, SubscriptionOptions
from natss.nats_streaming.protocol_pb2 import (
    CloseRequest,
    CloseResponse,
    ConnectRequest,
    ConnectResponse,
    Ping,
    PingResponse,
    SubscriptionRequest,
    SubscriptionResponse,
    UnsubscribeRequest,
)
from natss.nats_streaming.session import Inboxes, Session

M = TypeVar("M", bound=Message)

PROTOCOL = 1
"""With a connection id and pings; every server since 0.10 supports it."""

PINGS_OUT = 88
"""What the Go client tells the server, which only echoes it."""


async def open_session(link: Link, options: ConnectionOptions, conn_id: str) -> Session:
    """Open the session; the heartbeat inbox must be answered already.

    Raises:
        ClientIdInUse, InvalidClientId, ConnectRefused: as the server said.
        ServerUnavailable, NotConnected: no answer.
    """
    request = ConnectRequest(
        client_id=options.client_id,
        heartbeat_inbox=Inboxes.of(conn_id).heartbeat,
        protocol=PROTOCOL,
        conn_id=conn_id.encode(),
        ping_interval=max(1, round(options.ping_interval)),
        ping_max_out=PINGS_OUT,
    )
    subject = f"_STAN.discover.{options.cluster_id}"
    data = await link.request(subject, request.SerializeToString(), options.request_timeout)
    answer = _parsed(ConnectResponse(), data)
    if answer.error:
        raise refusals.connect_error(answer.error)
    if not answer.ping_requests:
        raise ConnectRefused(
            "it does not support pings: a NATS Streaming server of 0.10 or newer is needed"
        )
    return Session.agreed(options.client_id, conn_id, answer)


async def ping(link: Link, session: Session, timeout: float) -> None:
    """Ask whether the server knows the session.

    Raises:
        SessionLost: it does not.
        ServerUnavailable, NotConnected: no answer, so nobody knows.
    """
    request = Ping(conn_id=session.conn_id.encode()).SerializeToString()
    answer = _parsed(PingResponse(), await link.request(session.ping_requests, request, timeout))
    if answer.error:
        raise SessionLost(f"answer to a ping: {answer.error}")


async def subscribe(
    link: Link,
    session: Session,
    subscription: tuple[str, SubscriptionOptions],
    inbox: str,
    timeout: float,
) -> str:
    """Make a subscription or take up an existing one; return the inbox for its acks.

    Raises:
        SubscribeError: as the server said; after ServerUnavailable it may exist all the same.
    """
    channel, options = subscription
    request = SubscriptionRequest(
        client_id=session.client_id,
        subject=channel,
        queue_group=options.queue or "",
        inbox=inbox,
        max_in_flight=options.max_inflight,
        ack_wait_in_secs=options.ack_wait,
        durable_name=options.durable or "",
        start_position=options.start.position,
        start_sequence=options.start.start_sequence,
        start_time_delta=options.start.delta_nanoseconds(),
    )
    data = await link.request(session.sub_requests, request.SerializeToString(), timeout)
    answer = _parsed(SubscriptionResponse(), data)
    if answer.error:
        raise refusals.subscription_error(answer.error)
    return answer.ack_inbox


async def end_subscription(
    link: Link, session: Session, channel: str, inbox: str, *, forget: bool, timeout: float
) -> None:
    """End a subscription by its inbox for acks or, since server 0.21, for deliveries.

    ``forget`` deletes a durable's position, which is kept otherwise.

    Raises:
        SubscribeError: as the server said; UnknownSubscription if there is none.
    """
    request = UnsubscribeRequest(client_id=session.client_id, subject=channel, inbox=inbox)
    subject = session.unsub_requests if forget else session.sub_close_requests
    data = await link.request(subject, request.SerializeToString(), timeout)
    answer = _parsed(SubscriptionResponse(), data)
    if answer.error:
        raise refusals.subscription_error(answer.error)


async def close_session(link: Link, session: Session, timeout: float) -> None:
    """End the session that has this client id NOW, so it must be this one.

    Raises:
        SubscribeError: the server refused, or did not answer.
    """
    request = CloseRequest(client_id=session.client_id)
    data = await link.request(session.close_requests, request.SerializeToString(), timeout)
    answer = _parsed(CloseResponse(), data)
    if answer.error:
        raise refusals.subscription_error(answer.error)


def _parsed(message: M, data: bytes) -> M:
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise ServerUnavailable("an answer cannot be read") from error
    return message
