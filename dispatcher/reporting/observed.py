"""The parts of the data plane that are observed to report their state."""

from dataclasses import dataclass

from dispatcher.durables.reconciler import Reconciler
from dispatcher.ingress.routing import Router
from dispatcher.runtime.metrics import Metrics
from dispatcher.stores.interface import EventStore


@dataclass(frozen=True, slots=True)
class Observed:
    """Parts that are only read here; nothing is asked of them."""

    store: EventStore
    reconciler: Reconciler
    routes: Router
    metrics: Metrics
