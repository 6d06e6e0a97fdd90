"""The program ``natss-provisioner``: what is watched; what comes of it is in controller.py.

kopf watches and tells that something may have changed. It writes nothing itself, for its handlers
here are plain events: no annotation, no finalizer.
"""

import asyncio
import logging
import os
import socket
import sys
from collections.abc import Iterator
from typing import Any

import kopf

from kube import SERVICES, EventRecorder, KubeClient, LoginFailed, connection_info
from natss_provisioner.children import MANAGED_BY, MANAGER
from natss_provisioner.controller import Controller
from natss_provisioner.handlers.context import Context
from natss_provisioner.resources import CHANNELS, PROVISIONERS, SUBSCRIPTIONS
from natss_provisioner.settings import PROGRAM, Settings, SettingsError
from process import logs
from process.logs import LogLevel, LogSettings
from process.settings import exit_with

_log = logging.getLogger(__name__)


class PatientBackoffs:
    """How long kopf waits between attempts of a request, in seconds: it never gives up.

    Its own waits end after a minute, and then the program does; and they grow to 21 s, which is
    how late it would notice that the API is back.
    """

    def __iter__(self) -> Iterator[float]:
        yield from (0.5, 1.0, 2.0)
        while True:
            yield 3.0


def registry(controller: Controller, working: asyncio.Task[None]) -> kopf.OperatorRegistry:
    """All that kopf is told to watch; when it stops, so does the work."""
    handlers = kopf.OperatorRegistry()

    @kopf.on.login(registry=handlers)
    def log_in(**_: Any) -> kopf.ConnectionInfo:
        try:
            return connection_info()
        except LoginFailed as error:  # as a file that is just being replaced
            raise kopf.TemporaryError(str(error), delay=1.0) from error

    @kopf.on.event(PROVISIONERS.group, PROVISIONERS.version, PROVISIONERS.plural, registry=handlers)
    async def provisioner_changed(body: kopf.Body, event: kopf.RawEvent, **_: Any) -> None:
        controller.on_provisioner(body, deleted=event["type"] == "DELETED")

    @kopf.on.event(CHANNELS.group, CHANNELS.version, CHANNELS.plural, registry=handlers)
    async def channel_changed(body: kopf.Body, event: kopf.RawEvent, **_: Any) -> None:
        controller.on_channel(body, deleted=event["type"] == "DELETED")

    if controller.has_subscriptions:

        @kopf.on.event(
            SUBSCRIPTIONS.group, SUBSCRIPTIONS.version, SUBSCRIPTIONS.plural, registry=handlers
        )
        async def subscription_changed(body: kopf.Body, event: kopf.RawEvent, **_: Any) -> None:
            controller.on_subscription(dict(body), deleted=event["type"] == "DELETED")

    @kopf.on.event(SERVICES.group, SERVICES.version, SERVICES.plural, registry=handlers)
    async def service_changed(meta: kopf.Meta, **_: Any) -> None:
        controller.on_service(meta)

    @kopf.on.cleanup(registry=handlers)
    async def stop(**_: Any) -> None:
        # Not after kopf has ended: it waits for all tasks that it finds running then.
        working.cancel()
        await asyncio.wait([working])

    return handlers


def kopf_settings() -> kopf.OperatorSettings:
    """How kopf watches: only our Services, and without a word of its own in the cluster."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.watching.label_selectors[SERVICES.plural] = f"{MANAGED_BY}={MANAGER}"
    settings.watching.connect_timeout = 5.0
    settings.networking.request_timeout = 30.0
    settings.networking.connect_timeout = 5.0
    settings.networking.error_backoffs = PatientBackoffs()
    return settings


def quiet_libraries(settings: LogSettings) -> tuple[str, ...]:
    """Loggers of libraries of which nothing below WARNING is logged."""
    # A line for every object and handler, and for every probe.
    quiet = ("kopf.objects", "aiohttp.access", "asyncio")
    # At INFO kopf tells what its handlers do; ours tell that by themselves.
    return quiet if settings.level is LogLevel.DEBUG else ("kopf", *quiet)


async def run(settings: Settings) -> None:
    """Watch and reconcile until SIGTERM or SIGINT."""
    client = KubeClient(connection_info, field_manager=PROGRAM.name)
    events = EventRecorder(client, component=PROGRAM.name, instance=socket.gethostname())
    context = Context(client, events, settings.place, settings.create_provisioner)
    controller = Controller(context, settings)
    try:
        async with asyncio.TaskGroup() as group:
            working = group.create_task(controller.run(), name="controller")
            await kopf.operator(
                registry=registry(controller, working),
                settings=kopf_settings(),
                standalone=True,
                clusterwide=True,
                liveness_endpoint=f"http://{settings.health_listen}/healthz",
            )
    finally:
        await client.close()


def main() -> None:
    """The command; the exit status is 2 for a wrong setting and for missing credentials."""
    try:
        settings = Settings.load(sys.argv[1:], os.environ)
        connection_info()
    except (SettingsError, LoginFailed) as error:
        exit_with(PROGRAM, error)
    logs.configure(settings.log, quiet=quiet_libraries(settings.log))
    _log.info("starting; channels lead to the dispatcher in %s", settings.system_namespace)
    asyncio.run(run(settings))
    _log.info("stopped")


if __name__ == "__main__":
    main()
