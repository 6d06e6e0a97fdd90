"""The stored form of an event, and its headers."""
