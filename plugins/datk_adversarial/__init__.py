"""Shipped plugin: alignments by a domain classifier."""
