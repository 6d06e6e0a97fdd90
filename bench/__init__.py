"""How fast it is: the dispatcher as a whole, and the parts that it cannot be faster than.

``make bench`` runs everything on one machine in one go and writes ``RESULTS.md``.
"""
