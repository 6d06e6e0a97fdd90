"""Which event loops tests run on.

The dispatcher runs on uvloop, its tests usually on asyncio's loop, both in the classes of the
programs. Where the two may differ, in the order of callbacks or in how transports close, a test
module sets ``EVENT_LOOPS = BOTH``.
"""

import asyncio
from collections.abc import Callable, Mapping

from natss.process.event_loops import AsyncioLoop, UvloopLoop

Factory = Callable[[], asyncio.AbstractEventLoop]

ASYNCIO: Mapping[str, Factory] = {"asyncio": AsyncioLoop}
BOTH: Mapping[str, Factory] = {"uvloop": UvloopLoop, "asyncio": AsyncioLoop}
