"""The version of datk."""

__version__ = "0.1.0"
