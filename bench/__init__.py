"""Measures how fast the dispatcher is as a whole, and how fast its parts allow it to be.

``make bench`` runs everything on one machine in one go and writes ``RESULTS.md``.
"""
