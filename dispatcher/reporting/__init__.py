"""Reports to operators, where they look, what the dispatcher does for channels and subscribers.

Best effort: a failed report harms no delivery.
"""
