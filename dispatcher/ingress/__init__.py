"""HTTP in: a publisher's bytes become a stored event and a status.

``server`` listens; ``connection`` is one publisher; ``request_reader`` makes requests of bytes, by
the rules of ``request``; ``answers`` publishes them and turns what became of them into
``responses``. What all connections share is ``context``.
"""
