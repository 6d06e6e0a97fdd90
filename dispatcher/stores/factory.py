"""Makes the store of this process from its settings."""

import secrets
from dataclasses import replace

from dispatcher.runtime.metrics import Metrics
from dispatcher.stores.nats_streaming.connection_options import connection_options
from dispatcher.stores.nats_streaming.settings import NatsSettings
from dispatcher.stores.nats_streaming.store import NatsStreamingStore, OnSession


def make_store(
    settings: NatsSettings,
    metrics: Metrics,
    on_session: OnSession,
    *,
    publish_timeout: float,
    max_publish_bytes: int,
) -> NatsStreamingStore:
    """Make a store that is not started.

    Args:
        settings: How to reach it.
        metrics: Receives the states of the connections.
        on_session: Called with ``is_open`` whenever this process gains or loses the right to
            deliver.
        publish_timeout: Seconds after which a publish is given up.
        max_publish_bytes: Bound for events that are published and not confirmed.

    Raises:
        SettingsError: A file that the settings name cannot be used.
    """
    options = replace(
        connection_options(settings),
        publish_timeout=publish_timeout,
        max_publish_bytes=max_publish_bytes,
    )
    return NatsStreamingStore(options, secrets.token_hex(6), metrics, on_session)
