"""What users write as labels, group ids and test flags, as numbers."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from datk.interfaces import OTHER_CLASS, UNLABELLED, ConfigError, DataError


class Column(NamedTuple):
    """One value per row, int64 or str, and where it was found."""

    name: str
    values: npt.NDArray[Any]
    unknown: npt.NDArray[np.bool_] | None = None
    """[N] true where nobody knows, whatever the value says; None if all are known."""
    notes: tuple[str, ...] = ()
    """What to say of how it was read."""
    columns: int | None = None
    """How many columns a one-hot array had."""


NO_LABEL = frozenset({-1, "-1", "nan", "NaN", "None", "<NA>", "NaT"})
"""What stands for a label of the target that nobody knows, unless the source has a class of that name. Such
strings are what NumPy and pandas make of NaN and None."""


def clean_column(values: npt.NDArray[Any], name: str, if_broken: str = "") -> Column:
    """Values [N] as int64 or str. Raises `DataError` for dtypes that are neither, for numbers that are not
    whole or beyond 64 bits, and for empty strings, with their count and the first row.

    if_broken: what the message says besides if there are numbers such as 0.5, rather than NaN.
    """
    kind = values.dtype.kind
    if kind == "U":
        _refuse(values == "", values, name, "empty strings")
        return Column(name, values)
    if kind == "f":
        wide = values.astype(np.float64)
        broken = wide != np.floor(wide)
        advice = if_broken if (broken & np.isfinite(wide)).any() else ""
        _refuse(broken | (np.abs(wide) >= 2.0**63), values, name, "not whole numbers", advice)
    elif kind == "u":
        _refuse(values > np.iinfo(np.int64).max, values, name, "beyond 64 bits with a sign")
    elif kind not in "bi":
        raise DataError(f"{name} holds {values.dtype}; give integers, booleans or strings")
    return Column(name, values.astype(np.int64))


def clean_answers(values: npt.NDArray[Any], name: str, if_broken: str = "") -> Column:
    """Values [N] as `clean_column` reads them, of which some may be unknown. Raises as it."""
    unknown = unlabelled(values)
    if unknown.all():
        return Column(name, np.full(len(values), UNLABELLED), unknown)
    if not unknown.any():
        return clean_column(values, name, if_broken)
    filled = values.copy()
    filled[unknown] = values[~unknown][0]  # so that a message gives the rows as they are in the file
    if filled.dtype.kind == "O":
        filled = np.array(filled.tolist())
    return clean_column(filled, name, if_broken)._replace(unknown=unknown)


def without_numbers(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """An array of objects in which -1 stands beside strings, with None in its place; others as they are."""
    if values.dtype.kind != "O" or not any(isinstance(value, str) for value in values.ravel()):
        return values
    return np.array([None if _is_minus_one(value) else value for value in values.ravel()], object).reshape(
        values.shape
    )


def _is_minus_one(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and value == UNLABELLED


def unlabelled(values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Which values [N, ...] are None, NaN or an empty string."""
    if values.dtype.kind == "O":
        missing = [_is_missing(value) for value in values.ravel()]
        return np.array(missing, np.bool_).reshape(values.shape)
    if values.dtype.kind in "fU":
        return np.array(np.isnan(values) if values.dtype.kind == "f" else values == "", np.bool_)
    return np.zeros(values.shape, np.bool_)


def _is_missing(value: Any) -> bool:
    if value is None or type(value).__name__ in ("NAType", "NaTType"):  # of pandas
        return True
    if isinstance(value, float | np.floating):
        return bool(np.isnan(value))
    return isinstance(value, str) and value == ""


def class_numbers(
    source: Column, target: Column | None, names: Sequence[str] | None
) -> tuple[tuple[str, ...], npt.NDArray[np.int64], npt.NDArray[np.int64] | None]:
    """Names of the classes and the class numbers [N] of both columns.

    The classes are the distinct labels of the source, sorted. `names` puts the classes of string labels into
    another order, and gives those of integer labels a name each. A target row has `UNLABELLED` where nobody
    knows its label, and `OTHER_CLASS` where the source does not have it.

    Raises:
        ConfigError: names that do not fit the source.
        DataError: the target has labels, but none that the source has.
    """
    labels = np.unique(source.values).tolist()
    if names is not None:
        _check_names(names, labels, source.name)
        if isinstance(labels[0], str):
            labels = list(names)
    classes = tuple(names or map(str, labels))
    return classes, _positions(source, labels), None if target is None else _answers(target, labels)


def group_numbers(
    source: Column | None, target: Column | None, shared: bool
) -> tuple[npt.NDArray[np.int64] | None, npt.NDArray[np.int64] | None]:
    """Group ids [N] of both columns as numbers from 0; if `shared`, equal ids get the same number in both.

    Raises `ConfigError` if shared ids are not given for both domains, `DataError` if they cannot match.
    """
    if not shared:
        return (
            None if source is None else _ranks(source.values),
            None if target is None else _ranks(target.values),
        )
    if source is None or target is None:
        raise ConfigError("pair.shared_groups compares ids; give pair.source_group and pair.target_group")
    if source.values.dtype.kind != target.values.dtype.kind:
        raise DataError(
            f"{source.name} and {target.name} are numbers and strings, so no group is shared; "
            "save both alike or unset pair.shared_groups"
        )
    ranks = _ranks(np.concatenate([source.values, target.values]))
    return ranks[: len(source.values)], ranks[len(source.values) :]


def flags(column: Column) -> npt.NDArray[np.bool_]:
    """A column of 0 and 1 as booleans [N]; raises `DataError` for any other value."""
    true = column.values == 1
    _refuse(~(true | (column.values == 0)), column.values, column.name, "neither true nor false (1 or 0)")
    return np.asarray(true)


def source_numbers(column: Column) -> tuple[tuple[str, ...], npt.NDArray[np.int64]]:
    """Names of the sources, sorted, and the number of the source that each row is from [N]."""
    names = np.unique(column.values).tolist()
    return tuple(map(str, names)), _positions(column, names)


def _refuse(
    bad: npt.NDArray[np.bool_], values: npt.NDArray[Any], name: str, what: str, advice: str = ""
) -> None:
    if bad.any():
        first = int(np.argmax(bad))
        raise DataError(
            f"{name}: {np.count_nonzero(bad)} of {len(bad)} values are {what}, the first in row {first} "
            f"(counted from 0): {values[first].item()!r}{advice}"
        )


def _check_names(names: Sequence[str], labels: list[Any], where: str) -> None:
    if len(set(names)) != len(names):
        raise ConfigError(f"pair.classes names a class twice: {_listed(names)}")
    strings = isinstance(labels[0], str)
    if len(names) != len(labels) or (strings and set(names) != set(labels)):
        wanted = "the labels in the order you want" if strings else "one name for each"
        raise ConfigError(
            f"pair.classes is {_listed(names)}, but {where} has {len(labels)} labels: {_listed(labels)}; "
            f"give {wanted}"
        )


def _positions(column: Column, labels: list[Any]) -> npt.NDArray[np.int64]:
    number = {label: k for k, label in enumerate(labels)}
    distinct, inverse = np.unique(column.values, return_inverse=True)
    return np.array([number[label] for label in distinct.tolist()], dtype=np.int64)[inverse]


def _answers(column: Column, labels: list[Any]) -> npt.NDArray[np.int64]:
    """Class numbers of the target, as far as they are known."""
    number = {label: k for k, label in enumerate(labels)}
    distinct, inverse = np.unique(column.values, return_inverse=True)
    of_each = [number.get(x, UNLABELLED if x in NO_LABEL else OTHER_CLASS) for x in distinct.tolist()]
    numbers = np.array(of_each, dtype=np.int64)[inverse]
    if column.unknown is not None:
        numbers[column.unknown] = UNLABELLED
    if (numbers == OTHER_CLASS).any() and not (numbers >= 0).any():
        others = _listed(_others(column, numbers))
        raise DataError(
            f"{column.name} has labels that the source does not have: {others}; "
            f"the source has: {_listed(labels)}; some must be alike for the target to be scored"
        )
    return numbers


def _others(column: Column, numbers: npt.NDArray[np.int64]) -> list[Any]:
    others: list[Any] = np.unique(column.values[numbers == OTHER_CLASS]).tolist()
    return others


def other_classes(column: Column, numbers: npt.NDArray[np.int64]) -> tuple[str, ...]:
    """A note on the labels of the target that the source does not have, if there are some."""
    if not (numbers == OTHER_CLASS).any():
        return ()
    return (f"{column.name} has labels that the source does not have: {_listed(_others(column, numbers))}",)


def _ranks(values: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    return np.unique(values, return_inverse=True)[1].astype(np.int64)


def _listed(labels: Sequence[Any]) -> str:
    return ", ".join(map(repr, labels[:10])) + (f", ... ({len(labels)} in all)" if len(labels) > 10 else "")
