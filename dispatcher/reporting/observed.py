"""The parts of the data plane that are looked at to tell how it is."""

from dataclasses import dataclass

from dispatcher.durables.reconciler import Reconciler
from dispatcher.ingress.routing import Router
from dispatcher.runtime.metrics import Metrics
from dispatcher.stores.interface import EventStore


@dataclass(frozen=True, slots=True)
class Observed:
    """They are read here, and nothing is asked of them."""

    store: EventStore
    reconciler: Reconciler
    routes: Router
    metrics: Metrics
