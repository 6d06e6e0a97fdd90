"""The data plane: takes events in over HTTP, stores them, delivers them to every subscriber.

In the order of an event's way: ``ingress`` (HTTP in), ``channels`` (host to channel), ``broker``
with ``link`` and ``durable`` (NATS Streaming), ``fanout`` and ``handover`` (which subscriptions
there are), ``subscription`` with ``window`` (what is on the way to one subscriber), ``attempts``
(one round of trying) with ``replies`` (what is left for the next), ``egress`` (HTTP out). Pure,
beside the way: ``event``, ``delivery``, ``settled``.
"""
