"""The life of a durable: wanted, handed over, retained for a grace, released."""
