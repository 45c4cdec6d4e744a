"""Arrays in memory as values of options."""

import hashlib
import json
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from datk.interfaces import ConfigError

KEYS = {"shape", "dtype", "sha256"}
PIECE = 2**24
"""Bytes that are hashed at a time."""


class InMemory:
    """An array that was given in Python, or what a configuration says of one: its shape, type and checksum.

    NumPy arrays, PyTorch tensors, columns and tables of pandas and polars, and whatever else NumPy can make
    an array of. Its values are not copied; nobody writes to them.
    """

    def __init__(self, values: npt.NDArray[Any] | None, record: dict[str, Any] | None = None) -> None:
        self._values, self._record = values, record

    @classmethod
    def of(cls, value: Any) -> "InMemory":
        """The array that a value is. Raises `ValueError` for one that is none."""
        if isinstance(value, InMemory):
            return value
        if isinstance(value, dict):
            if value.keys() != KEYS:
                raise ValueError("give an array, or the key of one in a file")
            return cls(None, value)
        try:
            values = _array(value)
        except Exception as error:  # whatever such objects raise
            raise ValueError(f"it cannot be made an array of: {type(error).__name__}: {error}") from None
        if values.ndim == 0:
            raise ValueError(f"give an array, or the key of one in a file, not {value!r}")
        return cls(values)

    def values(self, option: str) -> npt.NDArray[Any]:
        """The array. Raises `ConfigError` where only its description is at hand."""
        if self._values is None:
            raise ConfigError(
                f"pair.{option} was an array in memory ({self}); give it again in Python, or save it to a "
                "file and give the key"
            )
        return self._values

    @property
    def record(self) -> dict[str, Any]:
        """Shape, type and sha256 of the values."""
        if self._record is None:
            assert self._values is not None
            values = self._values
            self._record = {
                "shape": list(values.shape),
                "dtype": values.dtype.name,
                "sha256": _checksum(values),
            }
        return self._record

    def __eq__(self, other: object) -> bool:
        return isinstance(other, InMemory) and self.record == other.record

    def __hash__(self) -> int:
        return hash(self.record["sha256"])

    def __repr__(self) -> str:
        if self._values is not None:
            return f"array {self._values.dtype} {list(self._values.shape)}"
        return f"array {self.record['dtype']} {self.record['shape']}"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        record = core_schema.dict_schema(core_schema.str_schema(), core_schema.any_schema())
        return core_schema.no_info_plain_validator_function(
            cls.of,
            json_schema_input_schema=record,
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda array: array.record, return_schema=record
            ),
        )


def key_or_array(value: Any) -> Any:
    """A key as it is, anything else as an array. Raises `ValueError` for what is none."""
    return value if value is None or isinstance(value, str) else InMemory.of(value)


def _array(value: Any) -> npt.NDArray[Any]:
    if hasattr(value, "detach"):  # of PyTorch, which may lie on a GPU or want a gradient
        value = value.detach().cpu().numpy()
    elif hasattr(value, "to_numpy"):
        value = value.to_numpy()
    if isinstance(value, np.memmap):  # rows on disk, which are not read before they are needed
        return value
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise ValueError("some values are masked; fill them, for instance with NaN")
    return np.asarray(value)


def _checksum(values: npt.NDArray[Any]) -> str:
    digest = hashlib.sha256()
    if values.dtype.hasobject:  # strings, and None or NaN among them
        digest.update(json.dumps([repr(value) for value in values.ravel().tolist()]).encode())
        return digest.hexdigest()
    rows = max(1, PIECE // max(1, values.nbytes // max(1, len(values))))
    for start in range(0, len(values), rows):
        digest.update(np.ascontiguousarray(values[start : start + rows]).tobytes())
    return digest.hexdigest()
