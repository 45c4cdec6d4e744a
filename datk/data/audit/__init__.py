"""What everybody should know of a pair's data before training: `datk data audit`.

Target labels are not looked at: the distribution of labels and shortcuts to them are those of the source.
"""

from typing import Any

from datk.config.models import RunConfig
from datk.data.audit.copies import check_copies, check_groups, rounded
from datk.data.audit.features import check_features
from datk.data.audit.findings import Finding, Report
from datk.data.audit.numbers import check_distribution, check_number_order, check_number_shortcuts
from datk.data.audit.prepared import NOT_FINITE, prepared
from datk.data.audit.shortcuts import check_domains, check_order, check_shortcuts
from datk.data.audit.values import check_balance, check_rows, check_units, survey
from datk.data.cleaning import Cleaning
from datk.data.inspection import inspect_pair
from datk.interfaces import DomainPair, Task

__all__ = ["Finding", "Report", "as_json", "audit"]


def audit(pair: DomainPair, task: Task, config: RunConfig) -> Report:
    """Look for faults in the data of a pair. Rows are read in pieces, a few times.

    Args:
        task: what a run would predict.
        config: of a run: how it would split the rows; its seed is that of what is drawn here, too.

    Raises:
        DataError: the pair cannot be used at all (see `datk.data.inspection`), other than for values that are
            not finite, which are a finding.
    """
    data, seed = config.data, config.seed
    cleaning = Cleaning.of(data)
    inspected = inspect_pair(pair, task, finite=False, missing=(*cleaning.missing, *NOT_FINITE))
    ready = prepared(pair, inspected, cleaning)
    types = str(pair.source.x.dtype), str(pair.target.x.dtype)
    pair = ready.pair
    surveys = {"source": survey(pair.source.x), "target": survey(pair.target.x)}
    split_seed = seed if data.split_seed == "run" else data.split_seed
    splits, findings = check_groups(pair, data, split_seed, config.split, task.predicts_classes)
    copies, groups = check_copies(pair, splits, task.predicts_classes)
    findings += [rounded(finding, ready.coarse) for finding in copies]
    findings += check_rows(surveys)
    findings += ready.findings
    if not ready.coarse:
        findings += check_units(types, {d: ready.spreads.get(d, (s.mean, s.std)) for d, s in surveys.items()})
    if task.predicts_classes:
        findings += check_balance(pair)
        findings += check_order(pair)
        findings += check_shortcuts(pair, surveys["source"], groups, seed)
    else:
        findings += check_distribution(pair)
        findings += check_number_order(pair)
        findings += check_number_shortcuts(pair, surveys["source"], groups, seed)
    if len(pair.source.x.shape) == 2:
        findings += check_features(pair, surveys["source"], seed)
    findings += check_domains(surveys, seed)
    return Report(tuple(findings))


def as_json(report: Report) -> dict[str, Any]:
    """The report as JSON values."""
    return {
        "findings": [vars(finding) | {"rows": list(finding.rows)} for finding in report.findings],
        "high": report.count("high"),
        "medium": report.count("medium"),
        "low": report.count("low"),
    }
