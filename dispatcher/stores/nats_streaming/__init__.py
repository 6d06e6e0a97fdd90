"""NATS Streaming as a store of events: sessions, durables, and where each of these begins."""
