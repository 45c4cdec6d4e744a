"""Files in NumPy's .npy format that grow row by row."""

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["ArrayFile"]


class ArrayFile:
    """A new .npy file of float64 in C order; keeps the md5 of what was written. A context manager."""

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": shape})
        self.path, self.shape = path, shape
        self._start = header.tell()
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._file = path.open("wb")
        self._write(header.getvalue())

    def __enter__(self) -> "ArrayFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, rows: npt.ArrayLike) -> None:
        """Append rows; `shape` says how many there are to be."""
        self._write(np.ascontiguousarray(rows, dtype="<f8").tobytes())

    def read(self, start: int, stop: int) -> npt.NDArray[np.float64]:
        """Rows that were added before."""
        self._file.flush()
        row = int(np.prod(self.shape[1:]))
        values = np.fromfile(self.path, "<f8", (stop - start) * row, offset=self._start + start * row * 8)
        return values.reshape(-1, *self.shape[1:])

    def described(self) -> dict[str, Any]:
        """Name, size and checksum as in an archive's entry."""
        return {
            "key": self.path.name,
            "size": self._file.tell(),
            "checksum": f"md5:{self._md5.hexdigest()}",
            "links": {"self": self.path.name},
        }

    def _write(self, content: bytes) -> None:
        self._md5.update(content)
        self._file.write(content)
