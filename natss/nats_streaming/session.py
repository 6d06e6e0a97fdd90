"""The session as a value: its identity on the server, and the subjects that both sides use.

It holds no connection and no state. Its messages carry client id and connection id, so another NATS
connection, or another process, could use it as well; that is why its inboxes follow from
``conn_id`` alone.
"""

from dataclasses import dataclass
from typing import Self

from nats.nuid import NUID

from natss.nats_streaming.protocol_pb2 import ConnectResponse


@dataclass(frozen=True, slots=True)
class Inboxes:
    """The NATS subjects on which a session listens.

    Those for PubAcks begin as in the Go client, so that permissions written for it apply.
    """

    heartbeat: str
    puback: str
    replies: str
    """Answers to requests arrive on ``<replies>.<token>``."""
    deliveries: str
    """A subscription's messages arrive on ``<deliveries>.<token>``."""
    probes: str
    """NATS answers on ``<probes>.<token>`` if the server no longer has the subscription."""

    @classmethod
    def of(cls, conn_id: str) -> Self:
        return cls(
            heartbeat=f"_INBOX.{conn_id}.heartbeat",
            puback=f"_STAN.acks.{conn_id}",
            replies=f"_INBOX.{conn_id}.reply",
            deliveries=f"_INBOX.{conn_id}.deliver",
            probes=f"_INBOX.{conn_id}.probe",
        )


@dataclass(frozen=True, slots=True)
class Session:
    """What the server agreed to when the session was opened."""

    client_id: str
    conn_id: str
    inboxes: Inboxes
    pub_prefix: str
    sub_requests: str
    unsub_requests: str
    close_requests: str
    sub_close_requests: str
    ping_requests: str

    @classmethod
    def agreed(cls, client_id: str, conn_id: str, answer: ConnectResponse) -> Self:
        return cls(
            client_id=client_id,
            conn_id=conn_id,
            inboxes=Inboxes.of(conn_id),
            pub_prefix=answer.pub_prefix,
            sub_requests=answer.sub_requests,
            unsub_requests=answer.unsub_requests,
            close_requests=answer.close_requests,
            sub_close_requests=answer.sub_close_requests,
            ping_requests=answer.ping_requests,
        )


def new_conn_id() -> str:
    """Return a unique id, by which the server tells sessions of one client id apart.

    A NUID of 22 characters. With the guid of each message that makes more than the 32 bytes by
    which the server's form of a message may otherwise outgrow the client's, and NATS's limit.
    """
    return NUID().next().decode()
