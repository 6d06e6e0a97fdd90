"""NATS Streaming as a store of events: sessions, durables, and their start positions."""
