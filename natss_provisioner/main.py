"""The program ``natss-provisioner``: what it watches; controller.py decides what follows."""

import asyncio
import os
import sys
from collections.abc import Iterator
from functools import partial

import structlog

from natss.contract.labels import object_labels
from natss.contract.names import PROVISIONER
from natss.knative import PROVISIONERS, SUBSCRIPTIONS, channel_resource
from natss.kube import SERVICES, EventRecorder, KubeClient, LoginFailed, connection_info
from natss.process import logs
from natss.process.event_loops import AsyncioLoop
from natss.process.listening import listening
from natss.process.logs import LogLevel, LogSettings
from natss.process.settings import exit_with
from natss.process.signals import on_termination
from natss_provisioner import seen_services
from natss_provisioner.channel_kinds import HANDLERS
from natss_provisioner.children import dispatcher_labels
from natss_provisioner.controller import Controller
from natss_provisioner.handlers.context import Context
from natss_provisioner.health import Health
from natss_provisioner.leader import Election, Role
from natss_provisioner.permissions import Permissions, needed
from natss_provisioner.settings import PROGRAM, ProvisionerSettings, SettingsError
from natss_provisioner.watches import Watch, Watches
from natss_provisioner.webhook import Webhook

log = structlog.get_logger(__name__)


class Replica:
    """One process: it acts while it has the Lease, and stands by otherwise.

    Args:
        settings: The settings of the process.
    """

    def __init__(self, settings: ProvisionerSettings) -> None:
        self._settings = settings
        self._client = KubeClient(connection_info, field_manager=PROGRAM.name)
        self._election: Election | None = None
        if settings.leader_election:
            self._election = Election(self._client, settings.system_namespace, settings.instance)
        self._permissions = Permissions(self._client, needed(settings))
        self._controller: Controller | None = None
        self._watches: Watches | None = None
        self._webhook = Webhook(self._client, settings) if settings.admission else None
        self._health = Health(self._status, self._reasons_not_ready)

    async def run(self) -> None:
        """Watch and reconcile, whenever this replica leads, until cancelled.

        Raises:
            CannotListen, ExceptionGroup: An address cannot be listened on.
        """
        try:
            with listening("--health-listen", self._settings.health_listen):
                await self._health.start(self._settings.health_listen)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._permissions.run(), name="permissions")
                if self._webhook is not None:
                    group.create_task(self._webhook.run(), name="webhook")
                if self._election is None:
                    group.create_task(self._lead(), name="lead")
                else:
                    group.create_task(self._election.run(self._lead), name="election")
        finally:
            await self._health.close()
            await self._client.close()

    async def _lead(self) -> None:
        """Do the work of this program, beginning with a first list of all objects."""
        settings = self._settings
        events = EventRecorder(
            self._client, component=PROGRAM.name, instance=settings.instance, labels=object_labels
        )
        context = Context(self._client, events, settings.place, settings.create_provisioner)
        controller = self._controller = Controller(context, settings)
        self._watches = Watches(self._client, tuple(watches(controller)))
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._watches.run(), name="watches")
                # Then handlers need not ask the API for other objects one by one.
                await self._watches.are_told.wait()
                group.create_task(controller.run(), name="controller")
        finally:
            self._controller = self._watches = None

    def _status(self) -> dict[str, object]:
        role = self._election.role if self._election else Role.LEADING
        waiting = self._controller.waiting if self._controller else 0
        return {"role": role.value, "waiting": waiting}

    def _reasons_not_ready(self) -> list[str]:
        reasons = [f"the service account may not {each}" for each in self._permissions.missing]
        if self._election is not None and self._election.failure is not None:
            reasons.append(self._election.failure)
        if self._watches is not None:
            reasons += self._watches.failures
        if self._webhook is not None and self._webhook.failure is not None:
            reasons.append(self._webhook.failure)
        return reasons


def watches(controller: Controller) -> Iterator[Watch]:
    """Yield all watches, with the functions of the controller that they call."""
    yield Watch(
        PROVISIONERS,
        controller.on_all_provisioners,
        lambda body, deleted: controller.on_provisioner(body, deleted=deleted),
        on_failure=controller.on_unseen,
    )
    for kind in HANDLERS:
        yield Watch(
            channel_resource(kind),
            partial(controller.on_all_channels, kind),
            lambda body, deleted: controller.on_channel(body, deleted=deleted),
            on_failure=controller.on_unseen,
        )
    if controller.has_subscriptions:
        yield Watch(
            SUBSCRIPTIONS,
            controller.on_all_subscriptions,
            lambda body, deleted: controller.on_subscription(body, deleted=deleted),
            on_failure=controller.on_unseen,
        )
    yield Watch(
        SERVICES,
        controller.on_all_services,
        lambda body, deleted: controller.on_service(body, deleted=deleted),
        seen_services.LABELS,
        controller.on_unseen,
    )
    yield Watch(
        SERVICES,
        lambda _: controller.on_dispatcher_service(),
        lambda *_: controller.on_dispatcher_service(),
        dispatcher_labels(PROVISIONER),
    )


def quiet_libraries(settings: LogSettings) -> tuple[str, ...]:
    """Return the loggers of libraries that log nothing below WARNING."""
    quiet = ("asyncio", "aiohttp.access")
    return quiet if settings.level is LogLevel.DEBUG else ("kopf", *quiet)


async def run(settings: ProvisionerSettings) -> None:
    """Run until SIGTERM or SIGINT.

    Raises:
        OSError, ExceptionGroup: The program cannot start with these settings.
    """
    working = asyncio.create_task(Replica(settings).run(), name="replica")
    on_termination(working.cancel)
    await asyncio.wait((working,))
    if not working.cancelled():
        working.result()


def main() -> None:
    """Run the command; the exit status is 2 for a wrong setting and for missing credentials."""
    try:
        settings = ProvisionerSettings.load(sys.argv[1:], os.environ)
        connection_info()
    except (SettingsError, LoginFailed) as error:
        exit_with(PROGRAM, error)
    logs.configure(settings.log, quiet=quiet_libraries(settings.log))
    log.info("starting", system_namespace=settings.system_namespace)
    failure: BaseException | None = None
    try:
        with asyncio.Runner(loop_factory=AsyncioLoop) as runner:
            runner.run(run(settings))
    except* OSError as group:
        failure = group
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    if failure is not None:
        log.error("cannot start", reason=str(failure))
        raise SystemExit(1)
    log.info("stopped")


if __name__ == "__main__":
    main()
