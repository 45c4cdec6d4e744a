"""Copies of a picture and objects that come to lie on both sides of a split."""

import numpy as np
import numpy.typing as npt

from datk.audit.findings import Finding, Severity, counted, some
from datk.config import DataConfig
from datk.duplicates import Duplicates, find_all_duplicates, linked
from datk.errors import DataError
from datk.interfaces import DomainPair, Samples
from datk.splits import PARTS, Rule, Split, Splits, split_pair

Rows = npt.NDArray[np.int64]


def check_groups(
    pair: DomainPair, data: DataConfig, seed: int, rule: Rule
) -> tuple[Splits | None, list[Finding]]:
    """The split that a run would make, if it can be made, and what is to be said of the groups."""
    try:
        splits = split_pair(pair.source, pair.target, pair.shared_groups, data.fractions, seed, rule)
    except DataError as error:
        return None, [Finding("split", "both", "high", str(error))]
    ungrouped = [name for name in ("source", "target") if getattr(pair, name).groups is None]
    if ungrouped:
        message = (
            f"{splits.rule}; the {' and the '.join(ungrouped)} without groups: if several rows show one "
            "object, give " + " and ".join(f"pair.{name}_group" for name in ungrouped)
        )
        return splits, [Finding("split", "both", "ok", message)]
    if not pair.shared_groups:
        message = (
            f"{splits.rule}, each domain by itself; if equal ids in both mean the same object, say so "
            "(shared_groups), or target test objects are in the source's training"
        )
        return splits, [Finding("split", "both", "low", message)]
    return splits, [Finding("split", "both", "ok", f"{splits.rule}, with objects common to both domains")]


def check_copies(pair: DomainPair, splits: Splits | None) -> tuple[list[Finding], Rows]:
    """Duplicates within and across domains; also the groups [N] of source rows, duplicates among them."""
    in_source, in_target, across = find_all_duplicates(pair.source.x, pair.target.x)
    findings = [
        _within("source", pair.source, in_source, pair.source_labels, splits.source if splits else None),
        _within("target", pair.target, in_target, None, splits.target if splits else None),
        _across(across, splits),
    ]
    return findings, _joined(pair.source, in_source)


def _parts(split: Split, rows: int) -> Rows:
    """Number of the part of each row."""
    part = np.zeros(rows, dtype=np.int64)
    for number, name in enumerate(PARTS):
        part[getattr(split, name)] = number
    return part


def _described(pairs: Duplicates, mask: npt.NDArray[np.bool_] | None = None) -> str:
    shown = (
        zip(pairs.first, pairs.second, strict=True)
        if mask is None
        else zip(pairs.first[mask], pairs.second[mask], strict=True)
    )
    return some(f"{a}={b}" for a, b in shown)


def _kinds(pairs: Duplicates) -> str:
    exact = int(pairs.exact.sum())
    return f"{exact} exact, {len(pairs) - exact} near"


def _within(
    domain: str, samples: Samples, pairs: Duplicates, labels: Rows | None, split: Split | None
) -> Finding:
    if not len(pairs):
        return Finding("duplicates", domain, "ok", "none, flips and quarter turns included")
    rows = tuple(np.unique(np.append(pairs.first, pairs.second)).tolist())
    text = f"{counted(len(pairs), 'pair')} ({_kinds(pairs)}): {_described(pairs)}"
    advice = f"drop one of each, or give pair.{domain}_group"
    severity: Severity = "low"
    if split is not None:
        parts = _parts(split, samples.x.shape[0])
        apart = parts[pairs.first] != parts[pairs.second]
        if apart.any():
            severity = "high"
            text += f"; {int(apart.sum())} across splits: {_described(pairs, apart)}"
    if samples.groups is not None:
        unknown = int((samples.groups[pairs.first] != samples.groups[pairs.second]).sum())
        advice = "their groups keep them together"
        if unknown:
            text += f"; {unknown} between rows of different groups"
            advice = "drop one of each, or give them one group"
    if labels is not None:
        differ = labels[pairs.first] != labels[pairs.second]
        if differ.any():
            severity = "high"
            text += f"; {int(differ.sum())} with different labels: {_described(pairs, differ)}"
            advice += ", and mend the labels"
    return Finding("duplicates", domain, severity, f"{text}; {advice}", rows)


def _across(pairs: Duplicates, splits: Splits | None) -> Finding:
    if not len(pairs):
        return Finding("duplicates", "both", "ok", "none between source and target")
    rows = tuple(np.unique(pairs.first).tolist())
    text = f"{counted(len(pairs), 'pair')} ({_kinds(pairs)}), source=target: {_described(pairs)}"
    severity: Severity = "medium"
    if splits is not None:
        leaks = np.isin(pairs.first, splits.source.train) & np.isin(pairs.second, splits.target.test)
        if leaks.any():
            severity = "high"
            text += f"; {int(leaks.sum())} in source training and target test: {_described(pairs, leaks)}"
    advice = "drop them from one domain, or give both groups and set pair.shared_groups=true"
    return Finding("duplicates", "both", severity, f"{text}; {advice}", rows)


def _joined(samples: Samples, pairs: Duplicates) -> Rows:
    rows = samples.x.shape[0]
    known = np.arange(rows) if samples.groups is None else np.asarray(samples.groups)
    _, firsts, inverse = np.unique(known, return_index=True, return_inverse=True)
    first, second = np.append(pairs.first, firsts[inverse]), np.append(pairs.second, np.arange(rows))
    return linked(first, second, rows)
