"""Shipped plugin: alignments by the discrepancy between feature distributions."""
