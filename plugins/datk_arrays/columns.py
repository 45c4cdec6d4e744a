"""Columns as pandas, torch and Keras leave them, as plain arrays of numbers or strings."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from datk.interfaces import DataError
from datk_arrays.labels import Column, unlabelled


class Plain(NamedTuple):
    """Values of one kind, and what to say of how they came to be."""

    values: npt.NDArray[Any]
    """[N], or [N, T] if several numbers a row are wanted. What is missing is NaN, or an empty string."""
    notes: tuple[str, ...] = ()
    columns: int | None = None
    """How many columns a one-hot array had."""


def plain_column(values: npt.NDArray[Any], name: str, rows: int, *, one_hot: bool, advice: str = "") -> Plain:
    """One value for each of N rows, of an array [N], [N, 1] or [1, N], or one-hot [N, K].

    Args:
        rows: how many there must be, N.
        one_hot: whether columns may be classes.
        advice: what else could be meant by several columns of numbers.

    Raises:
        DataError: another shape; columns that are no one-hot classes; objects of several kinds.
    """
    shape = values.shape
    how = []
    if len(shape) == 2 and rows > 1 and shape in ((rows, 1), (1, rows)):
        values = values.reshape(-1)
        how.append(f"an array of shape {shape}, one value for each row")
    values, kind = one_kind(values, name)
    if kind:
        how.append(kind)
    columns = None
    if one_hot and values.ndim == 2 and values.shape[0] == rows and values.dtype.kind in "biuf":
        columns = shape[1]
        values = _numbers_of_columns(values, name, advice)
        how.append(f"one-hot, class k for column k of {columns}")
    if values.ndim != 1:
        several = advice if values.ndim == 2 and values.dtype.kind in "iuf" else ""
        raise DataError(f"{name} has shape {shape}; give one value for each row{several}")
    if one_hot and columns is None and values.dtype.kind == "b":
        how.append("booleans, 0 for False and 1 for True")
    elif one_hot and columns is None and values.dtype.kind == "f":
        how.append("floats that are whole numbers")
    return Plain(values, (f"{name} was read as {'; '.join(how)}",) if how else (), columns)


def one_kind(values: npt.NDArray[Any], name: str) -> tuple[npt.NDArray[Any], str]:
    """An array of objects as strings, numbers or booleans, and what to say of it; other arrays as they are.

    Raises `DataError` if the objects are of several kinds, or of one that is neither.
    """
    if values.dtype.kind != "O":
        return values, ""
    missing = unlabelled(values)
    kinds = {_kind(value) for value in values[~missing].ravel()}
    if kinds <= {"number", "boolean"} and len(kinds) == 2:
        kinds = {"number and boolean"}
    if len(kinds) > 1 or not kinds <= {"string", "number", "boolean"}:
        raise DataError(
            f"{name} is an array of objects, of several kinds or none that is a label: "
            f"{', '.join(sorted(kinds))}; give strings or numbers, for instance array.astype(str)"
        )
    if kinds == {"string"}:
        texts = [_text(value, name) for value in np.where(missing, "", values).ravel()]
        return np.array(texts, dtype=str).reshape(values.shape), "strings, of an array of objects"
    if missing.any() or not kinds:
        numbers = np.where(missing, np.nan, values).astype(np.float64)
        if any(int(a) != b for a, b in zip(numbers[~missing], values[~missing], strict=True) if b == b // 1):
            raise DataError(f"{name} has integers beyond 2**53 beside missing values; give strings")
        return numbers, "numbers, of an array of objects"
    plain = np.array(values.ravel().tolist()).reshape(values.shape)
    if plain.dtype.kind not in "biuf":
        raise DataError(f"{name} has integers beyond 64 bits; give strings")
    return plain, f"{'booleans' if plain.dtype.kind == 'b' else 'numbers'}, of an array of objects"


def check_columns(source: Column, target: Column) -> None:
    """Raise `DataError` where columns of the target cannot be told to be classes of the source."""
    if target.columns is None or target.columns == source.columns:
        return
    if source.columns is not None:
        raise DataError(
            f"{target.name} has {target.columns} one-hot columns, and the source {source.columns}; give the "
            "same columns for both domains"
        )
    if not np.array_equal(np.unique(source.values), np.arange(target.columns)):
        raise DataError(
            f"{target.name} is one-hot, but the labels of the source are not the numbers 0 to "
            f"{target.columns - 1} of its columns; give both domains the same kind of labels"
        )


def _kind(value: Any) -> str:
    if isinstance(value, bool | np.bool_):
        return "boolean"
    if isinstance(value, int | float | np.integer | np.floating):
        return "number"
    return "string" if isinstance(value, str | bytes) else type(value).__name__


def _text(value: Any, name: str) -> str:
    try:
        return value.decode() if isinstance(value, bytes) else str(value)
    except UnicodeDecodeError:
        raise DataError(f"{name} has bytes that are no UTF-8: {value!r}; give strings") from None


def _numbers_of_columns(values: npt.NDArray[Any], name: str, advice: str) -> npt.NDArray[Any]:
    """The column of the 1 in each row [N]; NaN for a row of NaN. Raises `DataError` if it is not one-hot."""
    wide = values.astype(np.float64)
    unknown = np.isnan(wide).all(axis=1)
    good = unknown | (((wide == 0) | (wide == 1)).all(axis=1) & (wide.sum(axis=1) == 1))
    if not good.all():
        first = int(np.argmin(good))
        row = ", ".join(f"{value:g}" for value in wide[first, :6]) + (", ..." if wide.shape[1] > 6 else "")
        raise DataError(
            f"{name} is not one-hot (row {first}, counted from 0, is {row}) and has shape {values.shape}; "
            f"give one value for each row{advice if values.dtype.kind in 'iuf' else ''}"
        )
    numbers = wide.argmax(axis=1)
    return np.where(unknown, np.nan, numbers) if unknown.any() else numbers
