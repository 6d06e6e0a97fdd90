"""The parts of the data plane that are looked at to tell how it is."""

from dataclasses import dataclass

from dispatcher.broker import Broker
from dispatcher.channels import Channels
from dispatcher.fanout import Fanout
from dispatcher.metrics import Metrics


@dataclass(frozen=True, slots=True)
class Observed:
    """They are read here, and nothing is asked of them."""

    broker: Broker
    fanout: Fanout
    routes: Channels
    metrics: Metrics
