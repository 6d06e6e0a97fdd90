"""What all parts share: memory, turns and fair shares of the event loop, tasks, metrics."""
