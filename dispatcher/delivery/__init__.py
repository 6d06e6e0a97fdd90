"""The events of one subscription on their way: pending, attempted, settled or given up."""
