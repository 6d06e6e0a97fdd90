"""The data plane: takes events in over HTTP, stores them, delivers them to every subscriber.

In the order of an event's way: ``ingress`` (HTTP in, host to channel), ``stores`` (where events are
stored), ``delivery`` (what is on the way to one subscriber), ``egress`` (HTTP out), with ``event``
for its stored form. ``desired`` and ``cluster`` say what is wanted, ``durables`` makes it so,
``reporting`` and ``admin`` report on it. ``runtime`` is what all of them share.
"""
