"""The control plane: makes Kubernetes objects what the Channels of NATS Streaming ask for.

It gives each channel the Service that is its address and tells the truth in ``status``. It never
talks to NATS Streaming: a broken broker must not keep a channel from having its address.
"""
