"""Copies of a picture and objects that come to lie on both sides of a split."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from datk.base.errors import DataError
from datk.config.models import DataConfig, Rule
from datk.data.audit.findings import Finding, Severity, counted, option, some
from datk.data.duplicates.search import Duplicates, find_all_duplicates, linked
from datk.data.splits import PARTS, RowNumbers, Split, Splits, split_pair
from datk.interfaces import DomainPair, Samples

CONTRADICTION = 0.1
"""Difference of two labels that are numbers, in units of the labels' deviation, from which on they cannot
both be right."""


def check_groups(
    pair: DomainPair, data: DataConfig, seed: int, rule: Rule, classes: bool = True
) -> tuple[Splits | None, list[Finding]]:
    """The split that a run would make, if it can be made, and what is to be said of the groups."""
    try:
        splits = split_pair(
            pair.source,
            pair.target,
            pair.shared_groups,
            data.fractions,
            seed,
            rule,
            np.asarray(pair.source_labels) if classes else None,
            # All rows of the target in each part are no fault: it is asked whether parts could be told apart.
            "split" if data.target_rows == "auto" else data.target_rows,
            pair.classes,
        )
    except DataError as error:
        return None, [Finding("split", "both", "high", str(error))]
    told = [Finding("split", "both", "medium", note) for note in splits.notes]
    ungrouped = [name for name in ("source", "target") if getattr(pair, name).groups is None]
    if ungrouped:
        message = (
            f"{splits.rule}; the {' and the '.join(ungrouped)} without groups: several rows that show one "
            "object may be parted" + "".join(option(pair, f"{name}_group", "; give {}") for name in ungrouped)
        )
        return splits, [Finding("split", "both", "ok", message), *told]
    if not pair.shared_groups:
        message = (
            f"{splits.rule}, each domain by itself: objects that both show may be in the source's training "
            "and in the target's test" + option(pair, "shared_groups", "; set {}=true")
        )
        return splits, [Finding("split", "both", "low", message), *told]
    common = f"{splits.rule}, with objects common to both domains"
    return splits, [Finding("split", "both", "ok", common), *told]


def check_copies(
    pair: DomainPair, splits: Splits | None, classes: bool = True
) -> tuple[list[Finding], RowNumbers]:
    """Duplicates within and across domains; also the groups [N] of source rows, duplicates among them.

    classes: whether labels are classes; copies may have labels that are numbers and differ a little.
    """
    in_source, in_target, across = find_all_duplicates(pair.source.x, pair.target.x)
    findings = [
        _within(pair, "source", in_source, label_units(pair, classes), splits.source if splits else None),
        _within(pair, "target", in_target, None, splits.target if splits else None),
        _across(pair, in_source, in_target, across, splits),
    ]
    return findings, _joined(pair.source, in_source)


def rounded(finding: Finding, coarse: frozenset[str]) -> Finding:
    """Of duplicates in a domain whose values are few roundings of their type: that they may be none.

    coarse: names of such domains.
    """
    if not finding.rows or not coarse or finding.domain not in (*coarse, "both"):
        return finding
    why = "but values were rounded so coarsely that different rows may be alike, see precision"
    return replace(finding, severity="low", message=f"{finding.message}; {why}")


def label_units(pair: DomainPair, classes: bool) -> npt.NDArray[np.float64]:
    """Labels [N, T] in units of what makes two of them different: a class, or a part of the deviation."""
    labels = np.asarray(pair.source_labels, dtype=np.float64).reshape(pair.source.x.shape[0], -1)
    if classes:
        return labels
    deviation = labels.std(axis=0)
    return labels / (CONTRADICTION * np.where(deviation > 0, deviation, np.inf))


def _parts(split: Split, rows: int) -> RowNumbers:
    """Number of the part of each row."""
    part = np.zeros(rows, dtype=np.int64)
    for number, name in enumerate(PARTS):
        part[getattr(split, name)] = number
    return part


def _described(pairs: Duplicates, mask: npt.NDArray[np.bool_] | slice = slice(None)) -> str:
    return some(f"{a}={b}" for a, b in zip(pairs.first[mask], pairs.second[mask], strict=True))


def _kinds(pairs: Duplicates) -> str:
    exact = int(pairs.exact.sum())
    return f"{exact} exact, {len(pairs) - exact} near"


def _within(
    pair: DomainPair,
    domain: str,
    pairs: Duplicates,
    labels: npt.NDArray[np.float64] | None,
    split: Split | None,
) -> Finding:
    if not len(pairs):
        return Finding("duplicates", domain, "ok", "none, flips and quarter turns included")
    samples: Samples = getattr(pair, domain)
    rows = tuple(np.unique(np.append(pairs.first, pairs.second)).tolist())
    text = f"{counted(len(pairs), 'pair')} ({_kinds(pairs)}): {_described(pairs)}"
    loose = np.ones(len(pairs), dtype=bool)
    if samples.groups is not None:
        loose = samples.groups[pairs.first] != samples.groups[pairs.second]
    severity: Severity = "low"
    advice = "their groups keep them together"
    if loose.any():
        severity = "medium"
        text += f"; {int(loose.sum())} not in one group, which another split may part"
        advice = "drop one of each, or give them one group"
        if samples.groups is None:
            advice = "drop one of each" + option(pair, f"{domain}_group", ", or give {}")
    if split is not None:
        parts = _parts(split, samples.x.shape[0])
        apart = parts[pairs.first] != parts[pairs.second]
        if apart.any():
            severity = "high"
            text += f"; {int(apart.sum())} across splits: {_described(pairs, apart)}"
    if labels is not None:
        gaps = np.abs(labels[pairs.first] - labels[pairs.second])
        differ: npt.NDArray[np.bool_] = gaps.max(axis=1) >= 1
        if differ.any():
            severity = "high"
            text += f"; {int(differ.sum())} with different labels: {_described(pairs, differ)}"
            advice += ", and mend the labels"
    return Finding("duplicates", domain, severity, f"{text}; {advice}", rows)


def _across(
    pair: DomainPair, in_source: Duplicates, in_target: Duplicates, pairs: Duplicates, splits: Splits | None
) -> Finding:
    if not len(pairs):
        return Finding("duplicates", "both", "ok", "none between source and target")
    rows = tuple(np.unique(pairs.first).tolist())
    text = f"{counted(len(pairs), 'pair')} ({_kinds(pairs)}), source=target: {_described(pairs)}"
    severity: Severity = "medium"
    if splits is not None:
        # A row may be paired with one of several copies only, so that all that hang together count.
        start = pair.source.x.shape[0]
        sets = linked(
            np.concatenate([in_source.first, in_target.first + start, pairs.first]),
            np.concatenate([in_source.second, in_target.second + start, pairs.second + start]),
            start + pair.target.x.shape[0],
        )
        leaking = splits.target.test[np.isin(sets[splits.target.test + start], sets[splits.source.train])]
        if len(leaking):
            severity = "high"
            text += (
                f"; {counted(len(leaking), 'target test row')} in source training: {some(map(str, leaking))}"
            )
    advice = "drop them from one domain" + option(
        pair, "shared_groups", ", or give both groups and set {}=true"
    )
    return Finding("duplicates", "both", severity, f"{text}; {advice}", rows)


def _joined(samples: Samples, pairs: Duplicates) -> RowNumbers:
    rows = samples.x.shape[0]
    known = np.arange(rows) if samples.groups is None else np.asarray(samples.groups)
    _, firsts, inverse = np.unique(known, return_index=True, return_inverse=True)
    first, second = np.append(pairs.first, firsts[inverse]), np.append(pairs.second, np.arange(rows))
    return linked(first, second, rows)
