"""Shipped plugin: regularizers of features and predictions."""
