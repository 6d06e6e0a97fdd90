"""Where events are stored: what the dispatcher asks of a store, and one folder for each store."""
