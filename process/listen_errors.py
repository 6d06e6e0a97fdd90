"""What keeps a program from listening, told in the words of its settings."""

import contextlib
import errno
import socket
from collections.abc import Iterator

from process.kinds import Address

_NO_ADDRESS = "the host has no address; set an IP address of this machine"
_REASONS = {
    errno.EADDRINUSE: "another process listens there; end it, or set another port",
    errno.EADDRNOTAVAIL: "this machine has no such address; set one that it has",
    errno.EACCES: "this user may not use the port; set one from 1024 on",
    **dict.fromkeys((socket.EAI_NONAME, socket.EAI_NODATA, socket.EAI_AGAIN), _NO_ADDRESS),
}


class CannotListen(OSError):
    """An address of the settings cannot be listened on; the text names the flag."""

    def __init__(self, flag: str, address: Address, reason: str) -> None:
        super().__init__(f"{flag}: cannot listen on {address}: {reason}")
        self.flag = flag
        self.address = address


@contextlib.contextmanager
def listening(flag: str, address: Address) -> Iterator[None]:
    """Listen in the body of ``with``, and have failures name the setting.

    Args:
        flag: Of the setting that has the address.
        address: As it was set.

    Raises:
        CannotListen: for every OSError that comes from the address.
    """
    try:
        yield
    except OSError as error:
        reason = _REASONS.get(error.errno or 0, "")
        if not reason:
            raise
        raise CannotListen(flag, address, reason) from error
