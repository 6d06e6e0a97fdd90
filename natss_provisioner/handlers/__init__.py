"""A file per kind of object, each with one ``reconcile``: look, compare, write what differs.

All are level-triggered: they ask the API for what is there now and do not care what has changed,
so it does no harm to call them too often, and a change that was missed is found by the next call.
"""
