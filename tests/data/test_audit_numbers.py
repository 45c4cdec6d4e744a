"""The audit of labels that are numbers: planted faults are found and weighed; sound data raise no alarm."""

import json
import math
from statistics import NormalDist

import numpy as np
import pytest

from datk.config.models import RunConfig
from datk.data.audit import as_json, audit
from datk.data.audit.numbers import R2, check_distribution, check_number_order
from datk.data.audit.shortcuts import AUC
from datk.interfaces import ComponentConfig, DomainPair, Samples
from datk_tasks.regression import Regression

SIZE, ROWS = 24, 200


class PairConfig(ComponentConfig):
    source_group: str = ""


class Pair(DomainPair):
    """Bare of data."""

    Config = PairConfig

    def __init__(self):
        pass

    def answers(self, rows):
        raise AssertionError("the audit looks at target labels")


def sound(seed=0, **changes):
    """Labels that say how long a blob in the middle is, on noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    labels = rng.uniform(2, 5, ROWS)

    def images():
        width = labels[:, None, None]
        blob = 5 * np.exp(-((y / width) ** 2 + (x * width / 8) ** 2) / 2)
        return (rng.normal(size=(ROWS, 1, SIZE, SIZE)) + blob[:, None]).astype(np.float32)

    pair = Pair()
    parts = {"source": Samples(images()), "target": Samples(images()), "source_labels": labels}
    vars(pair).update(parts | changes)
    return pair


def vectors(labels, x=None, **changes):
    """Features that say nothing of the labels."""
    rng = np.random.default_rng(0)
    labels = np.asarray(labels, dtype=np.float64)
    x = rng.normal(size=(len(labels), 5)) if x is None else x
    target = Samples(rng.normal(size=(60, *x.shape[1:])))
    return sound(**{"source": Samples(x), "target": target, "source_labels": labels} | changes)


def report_on(pair, seed=0):
    return audit(pair, Regression(Regression.Config()), RunConfig(seed=seed))


def only(pair, check, domain="source"):
    # One check alone is faster than all; that all are made is seen in the tests of whole reports.
    one = {"label distribution": check_distribution, "file order": check_number_order}.get(
        check.partition(":")[0]
    )
    findings = one(pair) if one else report_on(pair).findings
    (finding,) = [f for f in findings if (f.check, f.domain) == (check, domain)]
    return finding


def alarming(report):
    return {(f.check, f.domain): f.severity for f in report.findings if f.severity in ("high", "medium")}


@pytest.mark.parametrize("seed", range(3))
def test_sound_data_raise_no_alarm(seed):
    report = report_on(sound(seed), seed)
    assert alarming(report) == {}
    checks = {finding.check for finding in report.findings}
    assert {"label distribution", "file order", "shortcut: corners", "shortcut: brightness"} <= checks
    assert "class balance" not in checks


def test_the_report_as_json():
    labels = np.random.default_rng(0).uniform(size=ROWS)
    labels[7] = 1e6
    report = report_on(vectors(labels))
    read = json.loads(json.dumps(as_json(report), allow_nan=False))
    (found,) = [finding for finding in read["findings"] if finding["check"] == "label distribution"]
    assert found["rows"] == [7]
    assert found["severity"] == "medium"
    assert read["medium"] == report.count("medium")


# --- distribution --------------------------------------------------------------------------------------


def test_range_and_spread_are_told():
    labels = np.random.default_rng(1).permutation(np.linspace(-1, 3, 101))
    finding = only(vectors(labels), "label distribution")
    assert finding.severity == "ok"
    assert finding.rows == ()
    deviation = math.sqrt(sum((value - 1) ** 2 for value in labels) / 101)
    assert (
        finding.message
        == f"-1.000 to 3.000, median 1.000, mean 1.000 ± {deviation:.3f}; 101 different values"
    )


def test_outliers_by_their_rows():
    labels = np.random.default_rng(0).normal(size=ROWS)
    quartiles = np.quantile(labels, [0.25, 0.75])
    labels[[3, 50]] = quartiles[1] + 2.99 * np.ptp(quartiles), quartiles[1] + 3.2 * np.ptp(quartiles)
    finding = only(vectors(labels), "label distribution")
    assert (finding.severity, finding.rows) == ("low", (50,))
    assert "1 outlier with" in finding.message
    assert "row 50; see that none stands for unknown" in finding.message
    labels[[3, 50]] = -999
    finding = only(vectors(labels), "label distribution")
    assert (finding.severity, finding.rows) == ("medium", (3, 50))
    deviations = (labels - labels.mean()) ** 2
    assert (
        f"2 outliers with {deviations[[3, 50]].sum() / deviations.sum():.0%} of the variance"
        in finding.message
    )


@pytest.mark.parametrize(("count", "severity"), [(15, "ok"), (30, "low"), (110, "medium")])
def test_one_value_in_many_rows(count, severity):
    labels = np.random.default_rng(0).normal(size=ROWS)
    labels[np.random.default_rng(1).permutation(ROWS)[:count]] = 0.25
    finding = only(vectors(labels), "label distribution")
    assert finding.severity == severity
    assert f"the most frequent 0.2500 in {count / ROWS:.1%} of the rows" in finding.message


def test_few_values_may_be_classes():
    finding = only(vectors(np.random.default_rng(0).integers(5, size=ROWS)), "label distribution")
    assert finding.severity == "low"
    assert "5 different values" in finding.message
    assert "see whether they are classes" in finding.message


def test_a_number_that_is_the_same_in_all_rows():
    finding = only(vectors(np.full(ROWS, 0.1)), "label distribution")
    assert finding.severity == "high"
    assert finding.message == "0.1000 in all rows: there is nothing to learn"


def test_several_numbers_have_a_finding_each():
    labels = np.random.default_rng(0).normal(size=(ROWS, 2))
    labels[4, 1] = 1e4
    pair = vectors(labels, targets=("mass", "size"))
    assert only(pair, "label distribution: mass").severity == "ok"
    assert only(pair, "label distribution: size").rows == (4,)


# --- shortcuts -----------------------------------------------------------------------------------------


def test_the_limits_are_those_of_the_auc():
    for name in ("medium", "bright", "high"):
        d = math.sqrt(2) * NormalDist().inv_cdf(getattr(AUC, name))
        assert getattr(R2, name) == pytest.approx(d**2 / (d**2 + 4), abs=0.006)


def test_corners_that_give_the_label_away():
    pair = sound()
    pair.source.x[:, :, :3, :3] = pair.source_labels[:, None, None, None] ** 3
    finding = only(pair, "shortcut: corners")
    assert finding.severity == "high"
    assert "R² 0.9" in finding.message
    assert (
        "for the rank of the label (chance 0.00) from the corners alone; crop or fill all rows alike"
        in finding.message
    )


def test_brightness():
    pair = sound()
    pair.source.x[:, :, 4:-4, 4:-4] += 2 * pair.source_labels[:, None, None, None]
    assert alarming(report_on(pair)) == {("shortcut: brightness", "source"): "medium"}


def test_a_few_extreme_labels_hide_no_shortcut():
    pair = sound()
    pair.source_labels[:3] = 1e9
    pair.source.x[:, :, :3, :3] = np.minimum(pair.source_labels, 9)[:, None, None, None]
    assert only(pair, "shortcut: corners").severity == "high"


def test_of_several_numbers_the_one_that_is_told_best():
    pair = sound(targets=("hidden", "given away"))
    pair.source_labels = np.stack([np.random.default_rng(5).normal(size=ROWS), pair.source_labels], axis=1)
    pair.source.x[:, :, :3, :3] = pair.source_labels[:, 1, None, None, None]
    finding = only(pair, "shortcut: corners")
    assert finding.severity == "high"
    assert "for the rank of given away" in finding.message


def test_a_shortcut_through_copies_is_none():
    """Rows of one object are never on both sides of a fold."""
    rng = np.random.default_rng(0)
    x = np.repeat(rng.normal(size=(20, 1, 8, 8)), 10, axis=0)
    pair = vectors(np.repeat(rng.normal(size=20), 10), x, source=Samples(x, np.arange(ROWS) // 10))
    assert only(pair, "shortcut: brightness").severity == "ok"


def test_what_few_objects_seem_to_betray_may_be_chance():
    """Of 12 objects no R² is certain: four deviations of a correlation by chance are more than 1."""
    rng = np.random.default_rng(0)
    labels = np.repeat(rng.permutation(np.arange(12.0)), 10)
    x = labels[:, None, None, None] + rng.normal(size=(120, 1, 8, 8))
    pair = vectors(labels, x, source=Samples(x, np.arange(120) // 10))
    finding = only(pair, "shortcut: brightness")
    assert finding.severity == "low"
    assert finding.message.endswith("from so few objects that it may be chance")


@pytest.mark.parametrize("rows", [4, 7, 16])
def test_tiny_data(rows):
    labels = np.random.default_rng(0).permutation(rows)
    x = np.random.default_rng(1).normal(size=(rows, 5))
    report = report_on(vectors(labels, x))
    assert alarming(report).keys() <= {("split", "both")}


# --- order and copies ----------------------------------------------------------------------------------


@pytest.mark.parametrize("sign", [1, -1])
def test_a_file_that_is_sorted_by_the_label(sign):
    labels = np.random.default_rng(0).exponential(size=ROWS)
    assert "not sorted" in only(vectors(labels), "file order").message
    finding = only(vectors(sign * np.sort(labels)), "file order")
    assert finding.severity == "low"
    assert finding.message.startswith("rows are sorted by the label; harmless here")


def test_the_number_by_which_a_file_is_sorted_is_named():
    rng = np.random.default_rng(0)
    labels = np.stack([rng.normal(size=ROWS), np.sort(rng.normal(size=ROWS))], axis=1)
    finding = only(vectors(labels, targets=("mass", "size")), "file order")
    assert finding.message.startswith("rows are sorted by size;")


def test_labels_that_rise_along_the_file():
    labels = np.arange(ROWS) / 100 + np.random.default_rng(0).normal(size=ROWS)
    finding = only(vectors(labels), "file order")
    assert finding.severity == "low"
    assert "the label rises along the file (rank correlation 0." in finding.message


def test_neighbours_with_similar_labels():
    rng = np.random.default_rng(0)
    labels = np.repeat(rng.normal(size=ROWS // 4), 4) + rng.normal(scale=0.1, size=ROWS)
    finding = only(vectors(labels), "file order")
    assert finding.severity == "low"
    assert finding.message.endswith("if they show one object, give pair.source_group")
    x = rng.normal(size=(ROWS, 5))
    grouped = vectors(labels, x, source=Samples(x, np.arange(ROWS) // 4))
    assert only(grouped, "file order").severity == "ok"


@pytest.mark.parametrize(("gap", "severity"), [(0.0, "medium"), (0.09, "medium"), (0.11, "high")])
def test_copies_with_labels_that_contradict_each_other(gap, severity):
    """In units of the labels' deviation; what is less may be how exactly they were measured."""
    from datk.data.splits import split_pair

    pair = sound()
    split = split_pair(pair.source, pair.target, False, (0.7, 0.1, 0.2), 0).source
    first, second = split.train[:2]
    pair.source.x[second] = pair.source.x[first]
    pair.source_labels[second] = pair.source_labels[first] + gap * pair.source_labels.std()
    finding = only(pair, "duplicates")
    assert finding.severity == severity
    assert (f"1 with different labels: {first}={second}" in finding.message) == (severity == "high")
