"""HTTP in: a publisher's bytes become a stored event and a status.

``server`` listens; ``connection`` serves one publisher; ``request_reader`` parses bytes into
requests, by the rules of ``request``; ``answers`` publishes them and turns each outcome into one of
``responses``. ``context`` holds what all connections share.
"""
