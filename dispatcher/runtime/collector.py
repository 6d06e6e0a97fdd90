"""When the garbage collector may work: it must not walk through long-lived objects again.

Otherwise a full collection blocks the event loop for 100 ms at 5,000 channels, again and again, and
NATS Streaming gives up a client that is silent for 500 ms.
"""

import gc

_WHILE_LOADING = (2000, 10, 1000)
"""Thresholds. Hardly anything is garbage while loading, and full collections would recur again and
again.
"""

_COLLECTIONS = (2000, 10, 20)
"""Thresholds. What is in flight is freed without the collector; with thousands of deliveries under
way each full collection blocks the event loop for 200 ms, and by Python's default there may be one
for each 70,000 objects more.
"""


def before_loading() -> None:
    """Exclude the code from collection; call it before anything waits for the event loop."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_WHILE_LOADING)


def when_loaded() -> None:
    """Exclude the first state too.

    A full collection would take 60 ms for 3,000 subscribers. The little garbage it would find
    stays.
    """
    gc.collect(1)
    gc.freeze()
    gc.set_threshold(*_COLLECTIONS)
