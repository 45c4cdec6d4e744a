"""Shipped plugin: pairs of galaxy images."""
