"""The commands and how they look."""
