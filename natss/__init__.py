"""Libraries of both programs: what they agree on, clients of Kubernetes and NATS Streaming."""
