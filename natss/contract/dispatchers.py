"""How each replica of the dispatcher reports on the ClusterChannelProvisioner that it is connected.

In ``status.dispatchers``, by the name of its pod: ``connected`` (True or False), ``reason`` and
``message`` if it is False, and ``time``, when the entry was written. Pure.
"""

DISPATCHERS = "dispatchers"
"""The field in ``status``."""

RENEWED_EVERY = 60.0
"""In seconds: after this time an entry is written again although nothing has changed."""

BELIEVED_FOR = 180.0
"""In seconds: an entry not renewed for this time has no meaning, so two renewals may fail."""
