"""What this program does for each kind of channel. To add a kind, add a line to ``HANDLERS``."""

from collections.abc import Awaitable, Callable

from natss.contract.channel_id import ChannelId, ChannelKind
from natss.contract.eventing import CHANNEL
from natss_provisioner.handlers import channel
from natss_provisioner.handlers.context import Context

Reconcile = Callable[[Context, ChannelId], Awaitable[float | None]]
"""Reconciles the Service of a channel and reports the state in its ``status``. Returns the seconds
until it must be reconciled again for changes that no watch reports, and may raise KubeError.
"""

HANDLERS: dict[ChannelKind, Reconcile] = {
    CHANNEL: channel.reconcile,
}
