"""Leader election: the replica that holds a Lease acts, as in Kubernetes' own controllers.

This saves work and duplicate reports. Two replicas may act at once for a moment. They create
nothing twice, because the API refuses late writes of the handlers.
"""

import asyncio
import enum
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog

from natss.document import Document
from natss.kube import (
    LEASES,
    AlreadyExists,
    Conflict,
    Forbidden,
    KubeClient,
    KubeError,
    NotFound,
)

log = structlog.get_logger(__name__)

LEASE = "natss-controller"

_RELEASE_SECONDS = 3.0
"""How long releasing the Lease may take: it must not keep the process from ending."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Timing in the terms of client-go, in seconds.

    With the defaults, another replica acts at the latest 12 s after one was killed.
    """

    lease_duration: int = 10
    """For this time after a renewal no other replica takes the Lease."""

    renew_deadline: float = 7.0
    """The holder stops acting this time after its last renewal: before any other begins."""

    renew_period: float = 2.0
    """Between two renewals."""

    retry_period: float = 1.0
    """Between two checks of a Lease that another replica holds, and after a failure."""


class Role(enum.Enum):
    """The role of a replica."""

    STANDING_BY = "standing by"
    LEADING = "leading"


class Election:
    """One candidate for a Lease.

    Args:
        client: Must be allowed to get, create and patch Leases of the namespace.
        namespace: The namespace of the Lease, which is named ``natss-controller``.
        identity: The name of this replica, as ``kubectl get lease`` shows it. A replica that comes
            back under the name of the holder keeps the Lease.
        timing: How fast another replica takes over.
    """

    def __init__(
        self, client: KubeClient, namespace: str, identity: str, timing: Timing | None = None
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._identity = identity
        self._timing = timing or Timing()
        self._seen: tuple[object, object] | None = None
        self._seen_at = 0.0
        self.role = Role.STANDING_BY
        self.failure: str | None = "nobody has looked at the Lease yet"
        """Why it is unknown which replica has to act; None if it is known."""

    async def run(self, lead: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Call ``lead`` whenever this replica is elected; cancel it when it loses the Lease.

        Run until cancelled; then release the Lease, so that no other replica has to wait. Errors of
        ``lead`` are raised.
        """
        while True:
            held_since = await self._acquire()
            log.info("leading", lease=f"{self._namespace}/{LEASE}")
            await self._lead(lead, held_since)

    async def _lead(self, lead: Callable[[], Coroutine[Any, Any, None]], held_since: float) -> None:
        self.role = Role.LEADING
        leading = asyncio.create_task(lead(), name="lead")
        renewing = asyncio.create_task(self._renew(held_since), name="renew the Lease")
        try:
            await asyncio.wait((leading, renewing), return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _end(leading)
            self.role = Role.STANDING_BY
            await _end(renewing)
            if renewing.cancelled():
                await self._release()
        if not leading.cancelled():
            leading.result()  # raises its error, if it has one
        if not renewing.cancelled():
            log.warning("standing by from now on", reason=str(renewing.result()))

    async def _acquire(self) -> float:
        """Wait until this replica has the Lease; return since when it has it."""
        while True:
            began = time.monotonic()
            try:
                if await self._hold(anew=True):
                    return began
            except (AlreadyExists, Conflict):
                pass  # another replica was faster
            except KubeError as error:
                self._tell(error)
            await asyncio.sleep(self._timing.retry_period)

    async def _renew(self, held_since: float) -> str:
        """Keep the Lease as long as possible; return why it is lost."""
        timing = self._timing
        deadline = held_since + timing.renew_deadline
        wait = timing.renew_period
        while True:
            await asyncio.sleep(min(wait, deadline - time.monotonic()))
            began = time.monotonic()
            try:
                async with asyncio.timeout(deadline - began):
                    if not await self._hold(anew=False):
                        return "another replica has the Lease"
                deadline, wait = began + timing.renew_deadline, timing.renew_period
            except (AlreadyExists, Conflict):
                wait = 0.0  # somebody has written it: check whether it was taken
            except KubeError as error:
                self._tell(error)
                wait = timing.retry_period
            except TimeoutError:
                return f"the Lease could not be renewed for {timing.renew_deadline:.0f} s"

    async def _hold(self, *, anew: bool) -> bool:
        """Take or renew the Lease; return whether this replica has it then.

        Raises:
            AlreadyExists, Conflict: Somebody else has written it meanwhile.
            KubeError: It is unknown which replica has it.
        """
        is_ours = await self._try_to_hold(anew=anew)
        self.failure = None
        return is_ours

    async def _try_to_hold(self, *, anew: bool) -> bool:
        try:
            lease = await self._client.get(LEASES, LEASE, self._namespace)
        except NotFound:
            body = {"metadata": {"name": LEASE}, "spec": {**self._spec(), "leaseTransitions": 0}}
            await self._client.create(LEASES, body, self._namespace)
            return True
        spec = lease.get("spec") or {}
        holder = spec.get("holderIdentity")
        if holder == self._identity:
            await self._patch(lease, self._spec() if anew else {"renewTime": _now()})
            return True
        if holder and not self._is_given_up(spec):
            return False
        transitions = (spec.get("leaseTransitions") or 0) + 1
        await self._patch(lease, {**self._spec(), "leaseTransitions": transitions})
        return True

    def _is_given_up(self, spec: Document) -> bool:
        """Return whether nobody has renewed it for long enough; clocks need not agree."""
        now = time.monotonic()
        seen = (spec.get("holderIdentity"), spec.get("renewTime"))
        if seen != self._seen:
            self._seen, self._seen_at = seen, now
        promised = spec.get("leaseDurationSeconds") or self._timing.lease_duration
        return bool(now - self._seen_at >= promised)

    async def _release(self) -> None:
        try:
            async with asyncio.timeout(_RELEASE_SECONDS):
                lease = await self._client.get(LEASES, LEASE, self._namespace)
                if (lease.get("spec") or {}).get("holderIdentity") == self._identity:
                    await self._patch(lease, {"holderIdentity": "", "leaseDurationSeconds": 1})
        except (KubeError, TimeoutError) as error:
            log.info("the Lease could not be given up, it will run out", reason=str(error))

    async def _patch(self, lease: Document, spec: Document) -> None:
        version = {"resourceVersion": lease["metadata"]["resourceVersion"]}
        body = {"metadata": version, "spec": spec}
        await self._client.patch(LEASES, LEASE, body, self._namespace)

    def _spec(self) -> Document:
        now = _now()
        return {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": self._timing.lease_duration,
            "acquireTime": now,
            "renewTime": now,
        }

    def _tell(self, error: KubeError) -> None:
        text = f"the Lease {self._namespace}/{LEASE} cannot be held: {error}"
        if isinstance(error, Forbidden):
            text += "; apply config/roles, or switch LEADER_ELECTION off"
        if text != self.failure:
            log.warning("the Lease cannot be held", reason=text)
        self.failure = text


async def _end(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.wait((task,))


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
