"""How each replica of the dispatcher tells on the ClusterChannelProvisioner that it is connected.

In ``status.dispatchers``, by the name of its pod: ``connected`` (True or False), ``reason`` and
``message`` where it is False, and ``time``, when that was written. Pure.
"""

DISPATCHERS = "dispatchers"
"""The field in ``status``."""

RENEWED_EVERY = 60.0
"""Seconds after which an entry is written again though nothing has changed."""

BELIEVED_FOR = 180.0
"""Seconds after which an entry that was not renewed says nothing: two renewals may fail."""
