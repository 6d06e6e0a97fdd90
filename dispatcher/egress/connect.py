"""Opens a connection to a subscriber: name resolution, TCP, TLS.

It knows no limits and no timeouts; cancelling it leaves nothing open.
"""

import asyncio
import socket
import ssl
from collections.abc import Sequence
from typing import Any

from dispatcher.egress.connection import EgressConnection, EgressError, FailureReason
from dispatcher.egress.denied import DeniedNetworks
from dispatcher.egress.resolver import Resolve
from dispatcher.egress.target import Proxy, Target
from dispatcher.egress.tunnel import open_tunnel
from natss.process.event_loops import Address, connect_first, is_ip_address

_OTHER_NAME = (62, 64)
"""OpenSSL's codes for a certificate of another host name, or another address."""


_JUDGED_WITHIN = 1.0
"""Seconds for the lookup of a name that a proxy will look up. The proxy may well know more names.
"""


async def connect(
    target: Target,
    connection: EgressConnection,
    tls: ssl.SSLContext,
    resolve: Resolve,
    denied: DeniedNetworks,
) -> None:
    """Open a NEW connection to the target, or through its proxy; it is ACTIVE then.

    Of several addresses, one that answers soon is used, IPv6 or IPv4 (RFC 8305), and never a denied
    one. Through a proxy, a name is refused if one of the addresses that it has here is denied. Only
    the operator chooses the proxy's own address, so it is not checked.

    Raises:
        EgressError: with reason CONNECT, TLS or DENIED. The text names the target without its
            userinfo.
    """
    way = target.origin if target.proxy is None else f"{target.origin} by proxy {target.proxy}"
    try:
        if target.proxy is None:
            addresses = await _addresses(target.host, target.port, resolve, target.namespace)
            allowed = [each for each in addresses if not denied.covers(each[4][0])]
            if addresses and not allowed:
                raise _denied(target, addresses[0])
            await _open(target, connection, tls, allowed)
        else:
            await _judge(target, resolve, denied)
            await _open_by_proxy(target, target.proxy, connection, tls, resolve)
    except ssl.SSLError as error:
        raise EgressError(FailureReason.TLS, f"no TLS with {way}: {_tls_text(error)}") from error
    except OSError as error:
        raise EgressError(
            FailureReason.CONNECT, f"no connection to {way}: {error.strerror or error}"
        ) from error


async def _judge(target: Target, resolve: Resolve, denied: DeniedNetworks) -> None:
    """Raise EgressError if the target is known to have a denied address."""
    if not denied.networks:
        return
    try:
        async with asyncio.timeout(_JUDGED_WITHIN):
            known = await _addresses(target.host, target.port, resolve, target.namespace)
    except (OSError, TimeoutError):  # a name that only the proxy knows
        return
    for each in known:
        if denied.covers(each[4][0]):
            raise _denied(target, each)


def _denied(target: Target, address: Address) -> EgressError:
    text = f"the address {address[4][0]} of {target.origin} is forbidden (--egress-deny)"
    return EgressError(FailureReason.DENIED, text)


async def _addresses(host: str, port: int, resolve: Resolve, namespace: str) -> Sequence[Address]:
    if not is_ip_address(host):
        return await resolve(host, port, namespace)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return [(family, socket.SOCK_STREAM, 0, "", (host, port))]


async def _open(
    target: Target, connection: EgressConnection, tls: ssl.SSLContext, addresses: Sequence[Address]
) -> None:
    if len(addresses) != 1:
        if not addresses:
            raise OSError("the name has no address")
        await _start(target, connection, tls, sock=await connect_first(addresses))
    else:
        host, port = addresses[0][4][:2]
        await _start(target, connection, tls, host=host, port=port)


async def _open_by_proxy(
    target: Target,
    proxy: Proxy,
    connection: EgressConnection,
    tls: ssl.SSLContext,
    resolve: Resolve,
) -> None:
    sock = await connect_first(await _addresses(proxy.host, proxy.port, resolve, ""))
    if target.tls:
        try:
            await open_tunnel(sock, proxy, target.origin.removeprefix("https://"))
        except BaseException:
            sock.close()
            raise
    await _start(target, connection, tls, sock=sock)


async def _start(
    target: Target, connection: EgressConnection, tls: ssl.SSLContext, **where: Any
) -> None:
    """Start the connection to the target, with TLS if its scheme asks for it."""
    server_hostname = target.host.removesuffix(".") if target.tls else None
    await asyncio.get_running_loop().create_connection(
        lambda: connection,
        ssl=tls if target.tls else None,
        server_hostname=server_hostname,
        **where,
    )


def _tls_text(error: ssl.SSLError) -> str:
    verdict: str = getattr(error, "verify_message", "")
    if getattr(error, "verify_code", 0) in _OTHER_NAME:
        verdict = f"{verdict.rstrip('.')} (a Common Name does not count, only subjectAltName does)"
    return verdict or error.reason or str(error)
