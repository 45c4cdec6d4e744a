"""What a split could not give: parts without a class, and shares that are off."""

from collections.abc import Mapping, Sequence

import numpy as np

from datk.data.dealing import RowNumbers

SHOWN = 3
"""Classes that a note names at most."""


def absent_classes(parts: Mapping[str, RowNumbers], labels: RowNumbers, classes: Sequence[str]) -> list[str]:
    """A note for each part of the source that has no row of a class that the source has."""
    counts = np.bincount(labels)
    notes = []
    for part, rows in parts.items():
        there = np.bincount(labels[rows], minlength=len(counts))
        if len(absent := np.flatnonzero((there == 0) & (counts > 0))):
            named = [
                f"'{classes[number] if number < len(classes) else number}' ({_rows(counts[number])})"
                for number in absent[:SHOWN]
            ]
            more = f" and {len(absent) - SHOWN} more" if len(absent) > SHOWN else ""
            notes.append(
                f"the {part} split of the source has no rows of class {', '.join(named)}{more}: "
                "there are too few, or too few objects"
            )
    return notes


def uneven_shares(
    domain: str, groups: RowNumbers, sizes: Sequence[int], fractions: Sequence[float], fixed_test: bool
) -> list[str]:
    """A note if the parts of a domain are a quarter larger or smaller than what was asked for."""
    rows = len(groups)
    wanted = np.array(fractions)
    if fixed_test:
        rest = 1 - sizes[2] / rows
        wanted = np.array([*(wanted[:2] / wanted[:2].sum() * rest), 1 - rest])
    found = np.array(sizes) / rows
    if (np.abs(found - wanted) <= np.maximum(wanted / 4, 2 / rows)).all():
        return []
    largest = np.unique(groups, return_counts=True)[1].max() / rows
    why = f": its largest object has {largest:.1%} of them" if largest > 2 / rows else ""
    found_shares, wanted_shares = (
        " / ".join(f"{100 * share:.3g}" for share in each) for each in (found, wanted)
    )
    return [
        f"the {domain}'s rows are divided {found_shares} % into training, validation and test, where "
        f"{wanted_shares} % were asked for{why}"
    ]


def _rows(number: int) -> str:
    return "1 row" if number == 1 else f"{number} rows"
