"""The events of one subscription on their way: what is pending, tried, settled and given up."""
