"""What this program does for each kind of channel. To add a kind, add a line to ``HANDLERS``."""

from collections.abc import Awaitable, Callable

from natss.contract.channel_id import ChannelId, ChannelKind
from natss.contract.eventing import CHANNEL
from natss_provisioner.handlers import channel
from natss_provisioner.handlers.context import Context

Reconcile = Callable[[Context, ChannelId], Awaitable[float | None]]
"""Make the Service of a channel what it should be, and tell the truth in its ``status``. It returns
after how many seconds to look again for what no watch tells, and may raise KubeError."""

HANDLERS: dict[ChannelKind, Reconcile] = {
    CHANNEL: channel.reconcile,
}
