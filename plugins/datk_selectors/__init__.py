"""Shipped plugin: which epoch's weights are kept."""
