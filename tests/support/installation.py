"""Both programs at work in a cluster, as after ``kubectl apply -k config/default``."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.cluster_dispatcher import ClusterDispatcher
from tests.support.kubernetes import KubernetesServer
from tests.support.provisioner_process import ProvisionerProcess
from tests.support.servers import NatsStreamingServer
from tests.support.waiting import eventually


class Installation:
    """A provisioner and a dispatcher, each as its service account; ``async with`` starts and stops.

    Args:
        kubernetes: The API, with the manifests applied.
        server: Where events are stored.
        folder: For logs, credentials and state.
        dispatcher_flags: Further flags, as for the command.
        provisioner_flags: Further flags, as for the command.
    """

    def __init__(
        self,
        kubernetes: KubernetesServer,
        server: NatsStreamingServer,
        folder: Path,
        dispatcher_flags: Sequence[str] = (),
        provisioner_flags: Sequence[str] = (),
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.kubernetes = kubernetes
        self.server = server
        log = folder / "provisioner.log"
        self.provisioner = ProvisionerProcess(kubernetes, log, provisioner_flags)
        self.dispatcher = ClusterDispatcher(kubernetes, server, folder, dispatcher_flags)

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self, until: str = "/readyz") -> None:
        """Start both, the dispatcher as ``DispatcherProcess.start`` says."""
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.to_thread(self.provisioner.start))
            group.create_task(self.dispatcher.start(until))

    async def stop(self) -> None:
        """Stop both (SIGTERM), the dispatcher last, since it may have to release Channels."""
        await asyncio.to_thread(self.provisioner.stop)
        await self.dispatcher.stop()
        await self.dispatcher.close_http()

    async def delivers_to(self, subscription: str, uid: str | None = None) -> dict[str, Any]:
        """Wait until the durable of a Subscription (``namespace/name``, of this uid) is open."""
        found: dict[str, Any] = {}

        async def is_open() -> bool:
            for channel in (await self.dispatcher.status())["channels"]:
                for each in channel["subscriptions"]:
                    same = uid is None or each["durable"] == uid
                    if each["subscription"] == subscription and same:
                        found.update(each)
                        return bool(each["durableState"] == "open")
            return False

        await eventually(is_open, 20.0)
        return found
