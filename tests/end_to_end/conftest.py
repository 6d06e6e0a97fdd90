"""The cluster that was named for these tests, with everything installed in it."""

import os
from collections.abc import Iterator

import pytest

from tests.end_to_end.cluster import Cluster, NotGiven
from tests.end_to_end.installation import Installation
from tests.end_to_end.load import Load


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Yield a cluster with ``config/default``, NATS Streaming, publisher and subscribers, ready."""
    try:
        given = Cluster.given(os.environ)
    except NotGiven as error:
        pytest.exit(str(error), returncode=4)
    installation = Installation(given, tmp_path_factory.mktemp("manifests"))
    installation.install()
    yield given
    installation.uninstall()


@pytest.fixture(scope="session")
def channels(cluster: Cluster) -> Load:
    """Return the load on the channels and subscriptions of ``channels.yaml``, once ready."""
    load = Load(cluster)
    load.create_channels()
    return load
