"""Which event loops tests run on.

The dispatcher runs on uvloop, its tests in general on asyncio's loop. Where the two may differ, in
the order of callbacks or in how transports close, a test module sets ``EVENT_LOOPS = BOTH``.
"""

import asyncio
from collections.abc import Callable, Mapping

import uvloop

Factory = Callable[[], asyncio.AbstractEventLoop]

ASYNCIO: Mapping[str, Factory] = {"asyncio": asyncio.new_event_loop}
BOTH: Mapping[str, Factory] = {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}
