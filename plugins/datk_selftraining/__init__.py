"""Shipped plugin: alignments that learn from the network's own predictions on the target."""
