"""Shipped plugin: the user's own arrays as a domain pair."""
