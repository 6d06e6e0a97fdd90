"""The control plane: reconciles Kubernetes objects with the Channels of NATS Streaming.

It gives each channel the Service that is its address, and reports the state in ``status``. It never
talks to NATS Streaming: a broken store must not keep a channel from having its address.
"""
