"""What is known of the labels of rows: which target rows can be scored, how many rows each class has.

The target's labels may be known for some of its rows only. Nothing here asks for them: `datk.runs.evaluate`
does.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from datk.interfaces import OTHER_CLASS, UNLABELLED

Counts = dict[str, dict[str, dict[str, int]]]
"""Rows of each class, by domain, part and name of the class."""


@dataclass(frozen=True)
class Known:
    """What is known of some rows."""

    scored: npt.NDArray[np.bool_]
    """[N] whether a row has a label that predictions can be compared with."""
    values: Any
    """Labels of those rows, as the pair gives them."""
    unlabelled: int
    """Rows without a label."""
    other_class: int
    """Rows of a class that the source does not have."""

    @property
    def counts(self) -> dict[str, int]:
        """How many rows there are of each kind."""
        scored = int(self.scored.sum())
        return {"scored": scored, "unlabelled": self.unlabelled, "other_class": self.other_class}


def plain(answers: Any, predicts_classes: bool) -> Any:
    """Answers with None as NaN, and where classes are predicted NaN as `UNLABELLED`; what holds anything else
    than numbers is left as it is, for whoever checks it."""
    if not isinstance(answers, np.ndarray | list | tuple) or isinstance(answers, np.ma.MaskedArray):
        return answers
    try:
        array = np.asarray(answers)
    except ValueError:  # rows of different lengths
        return answers
    if array.dtype == object:
        values = [np.nan if _is_missing(value) else value for value in array.ravel()]
        if not all(isinstance(value, int | float | np.integer | np.floating) for value in values):
            return answers
        array = np.array(values, np.float64).reshape(array.shape)
    if predicts_classes and array.dtype.kind == "f":
        whole = np.where(np.isnan(array), UNLABELLED, array)
        if (np.isfinite(whole) & (whole == np.floor(whole))).all():
            return whole.astype(np.int64)
    return array


def _is_missing(value: Any) -> bool:
    """Whether a value is None or one of the many kinds of NaN, which are not equal to themselves."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):  # of pandas
        return True
    return isinstance(value, float | np.floating) and value != value


def known(answers: npt.NDArray[Any], predicts_classes: bool) -> Known:
    """Which of the answers [N] or [N, T] are labels; a row of several numbers has one if all are known. What
    can be neither known nor unknown counts as known, for whoever checks it."""
    unlabelled, other = np.zeros(len(answers), np.bool_), np.zeros(len(answers), np.bool_)
    kind = answers.dtype.kind
    if predicts_classes and kind in "iu" and answers.ndim == 1:
        unlabelled, other = answers == UNLABELLED, answers == OTHER_CLASS
    if not predicts_classes and kind == "f":
        unlabelled = np.isnan(answers).reshape(len(answers), -1).any(axis=1)
    scored = ~(unlabelled | other)
    return Known(scored, answers[scored], int(unlabelled.sum()), int(other.sum()))


def checksum(answers: npt.NDArray[Any] | None) -> str:
    """sha256 of answers [N] or [N, T], whatever type holds them; of none as well."""
    digest = hashlib.sha256()
    if answers is not None:
        try:
            values = np.asarray(answers, np.float64)
        except (TypeError, ValueError):  # no labels, as whoever scores by them will say
            return ""
        values = np.where(np.isnan(values), np.nan, values) + 0.0  # one NaN and one zero of many
        digest.update(f"{list(values.shape)}".encode())
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def class_counts(classes: Sequence[str], labels: npt.NDArray[Any]) -> dict[str, int]:
    """Rows of each class, those without rows among them."""
    numbers = np.bincount(labels, minlength=len(classes)).tolist()
    return dict(zip(classes, numbers, strict=False))


def undefined_scores(counts: Counts, positive: str | None) -> list[str]:
    """A sentence for every scored part of a domain in which a class has no row."""
    found = []
    for domain, parts in counts.items():
        for part, rows in parts.items():
            absent = [name for name, count in rows.items() if not count]
            if absent and part != "train":
                names = ", ".join(f"'{name}'" for name in absent[:10])
                names += f" and {len(absent) - 10} more" if len(absent) > 10 else ""
                of = domain.replace("source: ", "source ")
                found.append(f"no {part} row of the {of} is of {names}: {_what_of(absent, rows, positive)}")
    return found


def _what_of(absent: Sequence[str], rows: Mapping[str, int], positive: str | None) -> str:
    if positive in absent:
        return "without the positive class precision, recall, F1 and AUC are not defined there"
    if len(rows) - len(absent) < 2:
        return "AUC is not defined there"
    return "precision, recall, F1 and AUC are means over the other classes there"


def unknown_labels(counts: Mapping[str, int]) -> list[str]:
    """A sentence on test rows of the target that have no score."""
    rows = sum(counts.values())
    parts = [
        text
        for number, text in (
            (counts["unlabelled"], f"{counts['unlabelled']} without a label"),
            (counts["other_class"], f"{counts['other_class']} of a class that the source does not have"),
        )
        if number
    ]
    if not parts:
        return []
    return [f"{counts['scored']} of {rows} test rows of the target are scored; {' and '.join(parts)} are not"]
