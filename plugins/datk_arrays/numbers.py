"""Labels that are numbers, for a regression."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from datk.interfaces import ConfigError, DataError
from datk_arrays.labels import unlabelled


class Numbers(NamedTuple):
    """Labels, float64 [N] or [N, T], and where they were found."""

    name: str
    values: npt.NDArray[np.float64]
    notes: tuple[str, ...] = ()
    """What to say of how they were read."""

    @property
    def columns(self) -> int:
        """Numbers of a row, T."""
        return 1 if self.values.ndim == 1 else self.values.shape[1]

    def __str__(self) -> str:
        return f"{self.name} has {self.columns} number{'' if self.columns == 1 else 's'} a row"


def clean_numbers(values: npt.NDArray[Any], name: str, may_lack: bool = False) -> Numbers:
    """Values [N] or [N, T] as float64, [N] if T is 1. Raises `DataError` for strings, booleans and other
    types that are no numbers, and for rows that are not finite, with their count and the first of them.

    may_lack: whether NaN, or None, may stand for a number that nobody knows.
    """
    if may_lack and values.dtype.kind == "O":
        numbers_and_none = np.where(unlabelled(values), np.nan, values)
        if all(isinstance(value, int | float | np.number) for value in numbers_and_none.ravel()):
            values = numbers_and_none.astype(np.float64)
    kind = values.dtype.kind
    if kind not in "iuf":
        what = {"U": "strings", "b": "booleans"}.get(kind, str(values.dtype))
        raise DataError(
            f"{name} holds {what}, and task=regression predicts numbers; "
            "give integers or floats, or leave out task=regression to predict classes"
        )
    with np.errstate(over="ignore"):  # long doubles beyond float64 become infinite
        numbers = values.astype(np.float64)
    good = np.isfinite(numbers) | (np.isnan(numbers) & may_lack)
    bad = np.flatnonzero(~good.reshape(len(numbers), -1).all(axis=1))
    if len(bad):
        raise DataError(
            f"{name}: {len(bad)} of {len(numbers)} rows are NaN or infinite, the first is row {bad[0]} "
            f"(counted from 0): {numbers[bad[0]].tolist()!r}; remove those rows"
        )
    return Numbers(name, numbers[:, 0] if numbers.ndim == 2 and numbers.shape[1] == 1 else numbers)


def target_names(source: Numbers, target: Numbers | None, names: Sequence[str] | None) -> tuple[str, ...]:
    """Names of the numbers of a row: those given, or `target 0`, `target 1`, ...

    Raises:
        ConfigError: names that are not one for each number, that are empty or that stand twice.
        DataError: the target's labels have another number of columns.
    """
    if target is not None and target.columns != source.columns:
        raise DataError(f"{source}, but {target}; give the same numbers for both domains")
    if names is None:
        return tuple(f"target {k}" for k in range(source.columns))
    listed = ", ".join(map(repr, names)) or "empty"
    if len(names) != source.columns:
        raise ConfigError(f"pair.targets is {listed}, but {source}; give one name for each")
    if len(set(names)) < len(names) or not all(name.strip() for name in names):
        raise ConfigError(f"pair.targets is {listed}; give names that tell the numbers apart")
    return tuple(names)
