"""From options to a link that listens, over whichever NATS server can be reached."""

from collections.abc import Callable

from nats_streaming.errors import ConnectError, NatsUnreachable, NotConnected
from nats_streaming.link import Link, open_link
from nats_streaming.options import ConnectionOptions
from nats_streaming.session import Inboxes


async def open_any_link(
    options: ConnectionOptions, conn_id: str, on_problem: Callable[[str], None]
) -> Link:
    """Tries each server once; the link takes answers to requests, and answers heartbeats.

    Raises:
        AuthenticationFailed, TlsNotOffered: one server said so, and no other could be used.
        NatsUnreachable: no server can be reached.
    """
    refusal: ConnectError | None = None
    reasons: list[str] = []
    for server in options.nats.servers:
        try:
            link = await open_link(
                server, options.nats, options.nats.name or options.client_id, on_problem
            )
        except NatsUnreachable as error:
            reasons += error.reasons
        except ConnectError as error:
            refusal = error
        else:
            try:
                await _listen(link, Inboxes.of(conn_id))
            except NotConnected as error:
                await link.dispose()
                reasons.append(f"{link.server}: {error}")
            except BaseException:
                await link.dispose()
                raise
            else:
                return link
    raise refusal or NatsUnreachable(tuple(reasons))


async def _listen(link: Link, inboxes: Inboxes) -> None:
    def answer_heartbeat(_subject: bytes, reply: bytes, _data: bytes, _hdr: bytes | None) -> None:
        if reply:
            link.send(reply, b"", b"")

    await link.receive_replies(inboxes.replies)
    await link.receive(inboxes.heartbeat, answer_heartbeat)
    await link.flush()
