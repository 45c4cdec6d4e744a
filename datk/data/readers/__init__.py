"""Arrays in files, row by row: for authors of pairs."""

from datk.data.readers.arrays import StoredArray, as_stored, open_array

__all__ = ["StoredArray", "as_stored", "open_array"]
