"""Opening a connection to a subscriber: name resolution, TCP, TLS.

It knows no limits and no timeouts; whoever cancels it leaves nothing open.
"""

import asyncio
import ssl
from collections.abc import Sequence

from dispatcher.egress.connection import Connection, EgressError, FailureReason
from dispatcher.egress.denied import DeniedNetworks
from dispatcher.egress.resolver import Resolve
from dispatcher.egress.target import Target
from process.event_loops import Address, connect_first, is_ip_address

_OTHER_NAME = (62, 64)
"""OpenSSL's codes for a certificate of another host name, or another address."""


async def connect(
    target: Target,
    connection: Connection,
    tls: ssl.SSLContext,
    resolve: Resolve,
    denied: DeniedNetworks,
) -> None:
    """Open a NEW connection to the target, which is ACTIVE then.

    Of several addresses one is used that answers soon, IPv6 or IPv4 (RFC 8305), and never one that
    is denied.

    Raises:
        EgressError: with CONNECT, TLS or DENIED. The text names the target without its userinfo.
    """
    try:
        addresses = await _addresses(target, resolve)
        allowed = [each for each in addresses if not denied.covers(each[4][0])]
        if addresses and not allowed:
            raise EgressError(
                FailureReason.DENIED,
                f"the address {addresses[0][4][0]} of {target.origin} is forbidden (--egress-deny)",
            )
        await _open(target, connection, tls, allowed)
    except ssl.SSLError as error:
        raise EgressError(
            FailureReason.TLS, f"no TLS with {target.origin}: {_tls_text(error)}"
        ) from error
    except OSError as error:
        raise EgressError(
            FailureReason.CONNECT, f"no connection to {target.origin}: {error.strerror or error}"
        ) from error


async def _addresses(target: Target, resolve: Resolve) -> Sequence[Address]:
    if not is_ip_address(target.host):
        return await resolve(target.host, target.port, target.namespace)
    return [(0, 0, 0, "", (target.host, target.port))]


async def _open(
    target: Target, connection: Connection, tls: ssl.SSLContext, addresses: Sequence[Address]
) -> None:
    loop = asyncio.get_running_loop()
    context = tls if target.tls else None
    server_hostname = target.host.removesuffix(".") if target.tls else None
    if len(addresses) != 1:
        if not addresses:
            raise OSError("the name has no address")
        sock = await connect_first(addresses)
        await loop.create_connection(
            lambda: connection, sock=sock, ssl=context, server_hostname=server_hostname
        )
        return
    host, port = addresses[0][4][:2]
    await loop.create_connection(
        lambda: connection, host, port, ssl=context, server_hostname=server_hostname
    )


def _tls_text(error: ssl.SSLError) -> str:
    verdict: str = getattr(error, "verify_message", "")
    if getattr(error, "verify_code", 0) in _OTHER_NAME:
        verdict = f"{verdict.rstrip('.')} (a Common Name does not count, only subjectAltName does)"
    return verdict or error.reason or str(error)
