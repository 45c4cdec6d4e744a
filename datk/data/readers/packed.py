"""Values of netCDF files that mean others than they are: packed as small integers, or marked as missing."""

from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Packed:
    """value = stored * scale + offset, NaN where the stored one is a mark, as the CF conventions have it."""

    scale: float
    offset: float
    marks: tuple[float, ...]
    unsigned: bool

    def dtype(self, stored: np.dtype[Any]) -> np.dtype[Any]:
        """Type of the values."""
        if self.scale == 1 and self.offset == 0 and not self.marks:
            return np.dtype(f"u{stored.itemsize}") if self.unsigned else stored
        if stored.kind == "f" or stored.itemsize <= 2:
            return np.dtype(np.float32) if stored.itemsize <= 4 else stored
        return np.dtype(np.float64)

    def unpacked(self, stored: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The values that are meant."""
        dtype = self.dtype(stored.dtype)
        native = stored.astype(stored.dtype.newbyteorder("="), copy=False)
        if self.unsigned and native.dtype.kind == "i":
            native = native.view(f"u{native.dtype.itemsize}")
        if dtype.kind != "f":
            return native
        values = native.astype(np.float64) * self.scale + self.offset
        marks = [mark for mark in self.marks if not np.isnan(mark)]
        if marks:
            values[np.isin(native, np.array(marks).astype(native.dtype))] = np.nan
        return values.astype(dtype)

    def __str__(self) -> str:
        said = []
        if self.scale != 1 or self.offset != 0:
            said.append(f"values are stored * {self.scale:g} + {self.offset:g}, as its attributes say")
        if self.marks:
            said.append(
                f"{', '.join(f'{mark:g}' for mark in self.marks)} is read as NaN, as its attributes say"
            )
        if self.unsigned:
            said.append("integers are read as unsigned, as its attributes say")
        return "; ".join(said)


def packing(dataset: h5py.Dataset) -> Packed | None:
    """How the values of a variable are packed; None if they are what they seem."""
    if dataset.dtype.kind not in "iuf":
        return None

    def number(name: str, default: float) -> float:
        return float(np.asarray(dataset.attrs[name]).reshape(-1)[0]) if name in dataset.attrs else default

    marks = {
        float(value)
        for name in ("_FillValue", "missing_value")
        if name in dataset.attrs
        for value in np.asarray(dataset.attrs[name]).reshape(-1)
        if not (dataset.dtype.kind == "f" and np.isnan(value))
    }
    said = dataset.attrs.get("_Unsigned", b"")
    unsigned = (
        dataset.dtype.kind == "i" and (said.decode() if isinstance(said, bytes) else str(said)) == "true"
    )
    packed = Packed(number("scale_factor", 1.0), number("add_offset", 0.0), tuple(sorted(marks)), unsigned)
    return None if packed == Packed(1.0, 0.0, (), False) else packed
