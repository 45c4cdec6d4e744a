"""Shipped plugin: what can be predicted."""
