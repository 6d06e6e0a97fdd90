"""Fixtures that every folder of tests may use: real servers and names of one's own."""

import asyncio
import contextlib
import functools
import gc
import inspect
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.kubernetes import KubernetesServer, running_kubernetes
from tests.support.repository import ROOT
from tests.support.servers import NatsStreamingServer

CONFIG = ROOT / "config"
StartServer = Callable[..., Awaitable[NatsStreamingServer]]

AsyncTest = Callable[..., Coroutine[Any, Any, None]]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """End an asynchronous test that hangs, in time for its fixtures to clean up.

    pytest-timeout cannot: uvloop does not let the exception of a signal handler through.
    """
    for item in items:
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj):
            marker = item.get_closest_marker("timeout")
            seconds = float(marker.args[0] if marker else config.getini("timeout"))
            item.obj = _bounded(item.obj, 0.75 * seconds)


def _bounded(test: AsyncTest, seconds: float) -> AsyncTest:
    @functools.wraps(test)
    async def bounded(*args: object, **kwargs: object) -> None:
        async with asyncio.timeout(seconds):
            await test(*args, **kwargs)

    return bounded


@pytest.fixture(scope="module", autouse=True)
def _left_open() -> Iterator[None]:
    """Show what a test left open (ResourceWarning) in its own module, not in another's."""
    yield
    gc.collect()


@pytest.fixture
def unique_name() -> str:
    """Return a name for channels, clients and durables of one test on a shared server."""
    return f"t{uuid.uuid4().hex[:12]}"


@pytest.fixture(scope="session")
def memory_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsStreamingServer]:
    """Yield one server (MEMORY store, no limit on channels) for all tests that leave it alone."""
    server = NatsStreamingServer(
        tmp_path_factory.mktemp("memory-server"), streaming="store_limits { max_channels: 0 }"
    )
    server.start_blocking()
    yield server
    server.stop_blocking()


def install(server: KubernetesServer, manifests: Path = CONFIG / "default") -> None:
    """Apply manifests, and create what their controller, which is not there yet, would."""
    server.kubectl("apply", "--server-side", "-k", manifests)
    server.kubectl("wait", "--for=condition=Established", "--timeout=20s", "crd", "--all")
    server.kubectl("apply", "--server-side", "-k", CONFIG / "provisioners")


@contextlib.contextmanager
def installed(folder: Path, manifests: Path = CONFIG / "default") -> Iterator[KubernetesServer]:
    """Yield a Kubernetes API on which ``install`` was done."""
    with running_kubernetes(folder) as server:
        install(server, manifests)
        yield server


@pytest.fixture(scope="session")
def shared_kubernetes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubernetesServer]:
    """Yield one API for all tests; ask for ``kubernetes``."""
    with installed(tmp_path_factory.mktemp("kubernetes")) as server:
        yield server


@pytest.fixture(scope="module")
def kubernetes(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[KubernetesServer]:
    """Yield a Kubernetes API with the manifests of ``config/default``, for tests that leave it up.

    What a test creates lies in its own ``namespace``, or has a ``unique_name``. A module that takes
    the API away, or changes what others rely on, has one of its own by ``OWN_KUBERNETES = True``.
    """
    if getattr(request.module, "OWN_KUBERNETES", False):
        with installed(tmp_path_factory.mktemp("kubernetes")) as server:
            yield server
    else:
        yield request.getfixturevalue("shared_kubernetes")


@pytest.fixture(scope="session")
def kubernetes_with_controllers(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[KubernetesServer]:
    """Yield an API like ``kubernetes``, on which orphaned objects and namespaces are deleted."""
    with installed(tmp_path_factory.mktemp("kubernetes-with-controllers")) as server:
        server.start_controllers()
        yield server


@pytest.fixture
def namespace(kubernetes: KubernetesServer, unique_name: str) -> str:
    """Create a namespace; it stays, since nothing here empties namespaces."""
    name = f"ns-{unique_name}"
    kubernetes.create("/api/v1/namespaces", {"metadata": {"name": name}})
    return name


@pytest.fixture
async def file_server(natss_server: StartServer) -> NatsStreamingServer:
    """Start a server with FILE store of the test's own, to be killed, paused and restarted."""
    return await natss_server(store="FILE")


@pytest.fixture
async def natss_server(tmp_path: Path) -> AsyncIterator[StartServer]:
    """Yield a function that starts servers of the test's own, with ``store="FILE"`` for example.

    Arguments as of tests.support.servers.NatsStreamingServer; all stop with the test.
    """
    servers: list[NatsStreamingServer] = []

    async def start(**options: Any) -> NatsStreamingServer:
        server = NatsStreamingServer(tmp_path / f"server-{len(servers)}", **options)
        servers.append(server)
        await server.start()
        return server

    yield start
    for server in servers:
        await server.kill()
