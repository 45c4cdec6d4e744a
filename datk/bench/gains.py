"""What the cells of a table gain over its source-only cell."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from datk.base.errors import RunError
from datk.bench.sweep import Outcome
from datk.runs.result import RunResult
from datk.runs.verdict import Gain, accuracy_gain

SOURCE_ONLY = "none"


class Gains(NamedTuple):
    """Gains in target accuracy by the key of an entry."""

    of: Mapping[str, Gain]
    baseline: str
    """Title of the cell that they are over; empty if there is none."""
    why_not: str = ""
    """What keeps some of them, or all, from being known."""


def gains(outcomes: Sequence[Outcome]) -> Gains:
    """Over the first cell without alignment whose samples are standardised by the source's constants, or else
    the first one without alignment.

    outcomes: of one table.
    """
    runs: dict[str, list[RunResult]] = {}
    titles: dict[str, str] = {}
    for outcome in outcomes:
        if outcome.result is not None:
            runs.setdefault(outcome.entry.key, []).append(outcome.result)
            titles[outcome.entry.key] = outcome.entry.title
    if not any(results[0].classes for results in runs.values()):
        return Gains({}, "")
    plain = [key for key, results in runs.items() if results[0].align == SOURCE_ONLY and not results[0].reg]
    if not plain:
        return Gains({}, "", "a cell with align = none would show what the others gain over source-only")
    by_source = [key for key in plain if runs[key][0].standardize == "source"]
    baseline = (by_source or plain)[0]
    found: dict[str, Gain] = {}
    why_not = ""
    for key, results in runs.items():
        if key != baseline:
            try:
                found[key] = accuracy_gain(results, runs[baseline])
            except RunError as error:
                why_not = f"no gain of {titles[key]}: {error}"
    return Gains(found, titles[baseline], why_not)
