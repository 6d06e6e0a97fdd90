"""What the dispatcher reports about itself, on a port of its own.

``server`` answers probes, Prometheus and people; ``status`` and ``readiness`` collect what it says,
``exposition`` writes it for Prometheus, ``page`` for a browser.
"""
