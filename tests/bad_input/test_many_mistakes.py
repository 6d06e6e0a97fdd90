"""A cluster in which thousands of Channels have mistakes: each change of one looks at them all."""

import time

from dispatcher.desired.files import FileSource
from dispatcher.durables.ledger import Ledger
from dispatcher.main import Dispatcher
from dispatcher.runtime.state_folder import StateFolder
from dispatcher.settings.settings import DispatcherSettings
from natss.contract.resources import DesiredState, Problem


async def test_mistakes_that_are_known_take_no_time() -> None:
    """The event loop stood still for longer than NATS Streaming waits for a client."""
    settings = DispatcherSettings()
    records = Ledger(StateFolder(None), 60.0)
    dispatcher = Dispatcher(settings, FileSource((), settings.defaults), records)
    dispatcher._is_loaded.set()  # so that nothing is connected to
    problems = tuple(Problem(f"Channel shop/orders-{n}", "spec", "wrong") for n in range(5000))
    await dispatcher._apply(DesiredState({}, problems))
    began = time.process_time()
    await dispatcher._apply(DesiredState({}, problems))
    seconds = time.process_time() - began
    await dispatcher._close()
    assert seconds < 0.25, "of CPU"
