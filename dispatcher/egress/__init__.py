"""HTTP out: one POST to one subscriber, on a connection of its origin's pool.

``client`` posts to a ``target``; ``pool`` decides which connection it uses; ``connect`` opens one;
``denied`` says to which addresses never; ``connection`` sends the request; ``answer`` reads what
comes back, by ``framing`` and, where it is sloppy, ``tolerant``; ``coding`` decodes its content.
"""
