"""One file per kind of object, each with one ``reconcile``: read, compare, write the difference.

All are level-triggered: they read the present state whatever has changed. An unnecessary call does
no harm, and the next call finds a missed change. A first pass uses what the watches reported
(``Context.seen``); before anything is written, the API is asked.
"""
