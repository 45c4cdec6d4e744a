"""Arrays in files, row by row: for authors of pairs."""

from datk.data.readers.arrays import StoredArray, open_array

__all__ = ["StoredArray", "open_array"]
