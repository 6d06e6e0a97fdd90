"""Channels of the Kubernetes API: watched, and the place of the durable records."""
