"""Tells operators, where they look, what the dispatcher does for channels and subscribers.

A courtesy: what cannot be told harms no delivery.
"""
