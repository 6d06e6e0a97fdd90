"""The Channels of the Kubernetes API: watches them, and keeps the durable records on them."""
