"""The data plane: takes events over HTTP, stores them in NATS Streaming and delivers them."""
