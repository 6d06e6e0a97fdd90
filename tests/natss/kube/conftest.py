"""Event loops of the tests in this folder."""

from collections.abc import Mapping

import pytest

from tests.support.event_loops import ASYNCIO, Factory


def pytest_asyncio_loop_factories(item: pytest.Function) -> Mapping[str, Factory]:
    """Let a module choose by ``EVENT_LOOPS``."""
    factories: Mapping[str, Factory] = getattr(item.module, "EVENT_LOOPS", ASYNCIO)
    return factories
