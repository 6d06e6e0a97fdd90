"""Reports in ``status.dispatchers`` of the ClusterChannelProvisioner how a replica is connected.

Each replica writes the entry of its own name and no other. The provisioner makes the condition
``Connected`` of them all. An entry that is not renewed expires: a replica that is killed takes
nothing back.
"""

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from dispatcher.reporting.sessions import (
    DELIVER_EFFECT,
    PUBLISH_EFFECT,
    SessionState,
    reason_of,
    state_of,
)
from dispatcher.stores.interface import EventStore
from natss.contract.dispatchers import DISPATCHERS, RENEWED_EVERY
from natss.contract.names import PROVISIONER
from natss.knative import PROVISIONERS
from natss.kube import KubeClient, KubeError, NotFound

log = structlog.get_logger(__name__)

_EVERY = 1.0
_SETTLE = 2.0
"""Seconds that a state must last before it is reported: shorter ones are left to the metrics."""

_PACE = 10.0
"""Seconds between two writes, whatever happens."""


@dataclass(frozen=True, slots=True)
class Connected:
    """What a replica reports of its sessions."""

    ok: bool
    reason: str = ""
    message: str = ""

    def fields(self) -> dict[str, str | None]:
        """Return the fields as they are written; None removes a field."""
        return {
            "connected": "True" if self.ok else "False",
            "reason": self.reason or None,
            "message": self.message or None,
            "time": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }


def connected(store: EventStore) -> Connected | None:
    """Return how the sessions are now; None if nothing was tried yet.

    Standing by counts as connected: another replica has the session.
    """
    links = ((store.publishing, PUBLISH_EFFECT), (store.delivering, DELIVER_EFFECT))
    states = [(link, effect, state_of(link)) for link, effect in links]
    bad = [each for each in states if each[2] in {SessionState.AWAY, SessionState.REFUSED}]
    if bad:
        message = "; ".join(f"{effect}: {link.last_error}" for link, effect, _ in bad)
        return Connected(False, reason_of(bad[0][0]), message)
    if any(state is SessionState.NOT_TRIED for *_, state in states):
        return None
    return Connected(True)


class ConnectionStatus:
    """Writes the entry of this replica.

    Args:
        client: May patch ``clusterchannelprovisioners/status`` of ``natss``.
        store: Has the connections.
        instance: The name of this replica.
    """

    def __init__(self, client: KubeClient, store: EventStore, instance: str) -> None:
        self._client = client
        self._store = store
        self._instance = instance
        self._seen: Connected | None = None
        self._since = 0.0
        self._told: Connected | None = None
        self._told_at = -RENEWED_EVERY
        self._tried_at = -_PACE
        self._failure: type[KubeError] | None = None

    async def run(self) -> None:
        """Write until cancelled; never fail for an error of the API."""
        while True:
            if self._is_due(time.monotonic()) and self._seen is not None:
                await self._write(self._seen)
            await asyncio.sleep(_EVERY)

    def _is_due(self, now: float) -> bool:
        """Return whether to write the current state; only a new reason makes it a change."""
        seen = connected(self._store)
        if _kind(seen) != _kind(self._seen):
            self._since = now
        self._seen = seen
        if now - self._tried_at < _PACE:
            return False
        if _kind(seen) == _kind(self._told):
            return now - self._told_at >= RENEWED_EVERY
        return now - self._since >= _SETTLE

    async def _write(self, told: Connected) -> None:
        now = self._tried_at = time.monotonic()
        body = {"status": {DISPATCHERS: {self._instance: told.fields()}}}
        try:
            await self._client.patch_status(PROVISIONERS, PROVISIONER, body)
        except NotFound:  # at the first installation it may be created last
            return
        except KubeError as error:
            if type(error) is not self._failure:
                log.warning(
                    "the connection cannot be reported, retrying; delivery continues",
                    reason=str(error),
                )
            self._failure = type(error)
            return
        self._told, self._told_at, self._failure = told, now, None


def _kind(of: Connected | None) -> tuple[bool, str] | None:
    """Return what stays the same until something changes; a message may have a number in it."""
    return None if of is None else (of.ok, of.reason)
