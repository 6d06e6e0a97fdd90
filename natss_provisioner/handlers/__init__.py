"""A file per kind of object, each with one ``reconcile``: look, compare, write what differs.

All are level-triggered: they look at what is there now and do not care what has changed, so it does
no harm to call them too often, and a change that was missed is found by the next call. A first look
goes by what the watches told (``Context.seen``); before anything is written, the API is asked.
"""
