"""``connect`` opens a new session."""

import asyncio

from natss.nats_streaming import requests
from natss.nats_streaming.connection import Connection, OnEvent
from natss.nats_streaming.errors import NatsUnreachable, NotConnected
from natss.nats_streaming.events import ConnectionEvent, ConnectionProblem
from natss.nats_streaming.links import open_any_link
from natss.nats_streaming.options import ConnectionOptions
from natss.nats_streaming.session import new_conn_id


async def connect(options: ConnectionOptions, *, on_event: OnEvent | None = None) -> Connection:
    """Connect to NATS and open a session of NATS Streaming; try each NATS server once.

    Args:
        options: the servers, and the credentials and client id to use.
        on_event: called with each change of the connection's state, and with whatever else its
            owner should know; it must not block.

    Raises:
        NatsUnreachable, ServerUnavailable, ClientIdInUse: try again later.
        AuthenticationFailed, TlsNotOffered, InvalidClientId: the options are wrong.
        ConnectRefused: for another reason that the server gave.
    """
    tell = on_event or _ignore
    conn_id = new_conn_id()
    link = await open_any_link(options, conn_id, lambda text: tell(ConnectionProblem(text)))
    try:
        if _is_cancelled():
            raise asyncio.CancelledError
        session = await requests.open_session(link, options, conn_id)
        connection = Connection(options, session, tell)
        await connection.start(link)
    except BaseException as error:
        # Dispose of the link with its heartbeat inbox: while that is answered, the client id stays
        # in use.
        await link.dispose()
        if isinstance(error, NotConnected):
            raise NatsUnreachable((f"{link.server}: {error}",)) from error
        raise
    if _is_cancelled():
        await connection.close()
        raise asyncio.CancelledError
    return connection


def _is_cancelled() -> bool:
    """Return whether this task was cancelled and a library swallowed the cancellation.

    On Python 3.11 ``wait_for``, as nats-py uses it, drops a cancellation that comes together with
    the result; the task that cancelled would wait for the end of this one for ever.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _ignore(_event: ConnectionEvent) -> None:
    pass
