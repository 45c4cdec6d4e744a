"""Planted faults are found and weighed; sound data raise no alarm."""

import json

import numpy as np
import pytest

from datk.base.errors import DataError
from datk.config.models import RunConfig
from datk.data.audit import as_json, audit
from datk.interfaces import ComponentConfig, DomainPair, Samples
from datk_tasks.classification import Classification

SIZE = 24


class PairConfig(ComponentConfig):
    source_group: str = ""
    target_group: str = ""
    shared_groups: bool = False


class Pair(DomainPair):
    """Bare of data."""

    Config = PairConfig

    def __init__(self):
        pass

    def answers(self, rows):
        raise AssertionError("the audit looks at target labels")


def sound(seed=0, rows=160, **changes):
    """Classes that differ in the shape of a blob in the middle, on noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    labels = rng.permutation(np.arange(rows) % 2)

    def images():
        width = np.where(labels[:, None, None] == 1, 2.0, 4.0)
        blob = 5 * np.exp(-((y / width) ** 2 + (x * width / 8) ** 2) / 2)
        return (rng.normal(size=(rows, 2, SIZE, SIZE)) + blob[:, None]).astype(np.float32)

    parts = {
        "source": Samples(images()),
        "target": Samples(images()),
        "source_labels": labels,
        "classes": ("long", "round"),
        "shared_groups": False,
    }
    pair = Pair()
    vars(pair).update(parts | changes)
    return pair


def report_on(pair, seed=0, **data):
    """By a split that looks at no label, so that a test may change labels of rows of a part."""
    config = RunConfig(seed=seed, split="grouped", data={"split_seed": seed, **data})
    return audit(pair, Classification(Classification.Config()), config)


def findings(pair, seed=0, **data):
    return report_on(pair, seed, **data).findings


def only(found, check, domain):
    (finding,) = [f for f in found if (f.check, f.domain) == (check, domain)]
    return finding


def alarming(found):
    return {(f.check, f.domain): f.severity for f in found if f.severity in ("high", "medium")}


def split_rows(pair, seed=0):
    from datk.data.splits import split_pair

    return split_pair(pair.source, pair.target, pair.shared_groups, (0.7, 0.1, 0.2), seed, "grouped")


@pytest.mark.parametrize("seed", range(3))
def test_sound_data_raise_no_alarm(seed):
    assert alarming(findings(sound(seed), seed)) == {}


def test_a_copy_across_splits():
    pair = sound()
    split = split_rows(pair).source
    train, test = split.train[0], split.test[0]
    pair.source_labels[test] = pair.source_labels[train]
    pair.source.x[test] = np.rot90(pair.source.x[train], axes=(1, 2))
    pair.source.x[test] += np.random.default_rng(1).normal(scale=0.01, size=pair.source.x[test].shape)
    finding = only(findings(pair), "duplicates", "source")
    assert finding.severity == "high"
    assert finding.rows == tuple(sorted((int(train), int(test))))
    assert "0 exact, 1 near" in finding.message
    assert "1 across splits" in finding.message


def test_copies_within_a_split_and_with_other_labels():
    pair = sound()
    first, second = split_rows(pair).source.train[:2]
    pair.source.x[second] = pair.source.x[first]
    pair.source_labels[second] = pair.source_labels[first]
    assert only(findings(pair), "duplicates", "source").severity == "medium"
    pair.source_labels[second] = 1 - pair.source_labels[first]
    finding = only(findings(pair), "duplicates", "source")
    assert finding.severity == "high"
    assert "1 with different labels" in finding.message


def test_copies_across_domains():
    pair = sound()
    splits = split_rows(pair)
    pair.target.x[splits.target.train[0]] = pair.source.x[splits.source.train[0]]
    assert only(findings(pair), "duplicates", "both").severity == "medium"
    pair.target.x[splits.target.test[0]] = pair.source.x[splits.source.train[1], :, ::-1]
    finding = only(findings(pair), "duplicates", "both")
    assert finding.severity == "high"
    assert f"1 target test row in source training: {splits.target.test[0]};" in finding.message


def test_copies_that_the_groups_know_or_do_not_know():
    pair = sound()
    pair.source.x[7] = pair.source.x[6]
    pair.source_labels[7] = pair.source_labels[6]
    pair.source = Samples(pair.source.x, groups=np.arange(160) // 2)
    finding = only(findings(pair), "duplicates", "source")
    assert finding.severity == "low"
    assert finding.message.endswith("; their groups keep them together")
    pair.source = Samples(pair.source.x, groups=np.arange(160))
    finding = only(findings(pair), "duplicates", "source")
    assert "1 not in one group, which another split may part" in finding.message
    assert finding.severity in ("medium", "high")


def test_copies_that_a_split_happens_to_keep_together_are_told_all_the_same():
    for seed in range(6):
        pair = sound()
        pair.source.x[7] = pair.source.x[6]
        pair.source_labels[7] = pair.source_labels[6]
        rows = split_rows(pair, seed).source
        together = any(np.isin([6, 7], part).all() for part in (rows.train, rows.validation, rows.test))
        severity = only(findings(pair, seed), "duplicates", "source").severity
        assert severity == ("medium" if together else "high")


def test_a_leak_through_a_copy_of_a_copy_is_found():
    """Source rows a and b and target row c are one image; a is in the source's test, b in its training."""
    pair = sound()
    splits = split_rows(pair)
    a, b = int(splits.source.test[0]), int(splits.source.train[-1])
    c = int(splits.target.test[0])
    assert a < b, "the search pairs c with the first of its copies, a"
    pair.source.x[b] = pair.source.x[a]
    pair.target.x[c] = pair.source.x[a]
    finding = only(findings(pair), "duplicates", "both")
    assert finding.severity == "high"
    assert f"1 target test row in source training: {c}" in finding.message


def test_options_are_advised_only_where_the_pair_has_them():
    class Fixed(Pair):
        """Its groups are what they are."""

        Config = ComponentConfig

    pair = sound()
    pair.source.x[7] = pair.source.x[6]
    pair.__class__ = Fixed
    assert not any("pair." in finding.message for finding in findings(pair))


def test_what_few_objects_seem_to_betray_may_be_chance():
    pair = sound()
    pair.source_labels = (np.arange(160) < 16).astype(np.int64)
    pair.source.x[:16, :, :2, :2] = 0
    pair.source = Samples(
        pair.source.x, groups=np.where(np.arange(160) < 16, np.arange(160) // 8, np.arange(160))
    )
    finding = only(findings(pair), "shortcut: corners", "source")
    assert finding.severity == "low"
    assert finding.message.endswith("from so few objects that it may be chance")


def test_an_object_on_both_sides_of_a_fixed_test_split():
    pair = sound()
    pair.source = Samples(pair.source.x, groups=np.arange(160) // 4, test=np.arange(160) < 30)
    finding = only(findings(pair), "split", "both")
    assert finding.severity == "high"
    assert "in two splits" in finding.message


def test_groups_that_may_be_shared():
    pair = sound()
    groups = np.arange(160)
    pair.source, pair.target = Samples(pair.source.x, groups), Samples(pair.target.x, groups)
    finding = only(findings(pair), "split", "both")
    assert finding.severity == "low"
    assert finding.message.endswith("; set pair.shared_groups=true")


def test_constant_corners_of_one_class():
    pair = sound()
    pair.source.x[pair.source_labels == 1, :, :3, :3] = 0
    found = findings(pair)
    assert only(found, "shortcut: corners", "source").severity == "high"
    assert {check.partition(":")[0] for check, _ in alarming(found)} == {"shortcut"}


def test_a_frame_of_one_class():
    pair = sound()
    pair.source.x[pair.source_labels == 1, :, 0, 5:-5] += 2
    found = findings(pair)
    assert only(found, "shortcut: border", "source").severity == "high"
    assert only(found, "shortcut: corners", "source").severity == "ok"


def test_brightness():
    pair = sound()
    pair.source.x[pair.source_labels == 1, :, 4:-4, 4:-4] += 2
    assert alarming(findings(pair)) == {("shortcut: brightness", "source"): "medium"}


def test_a_shortcut_through_copies_is_none():
    """Rows of one object are never on both sides of a fold."""
    rng = np.random.default_rng(0)
    x = np.repeat(rng.normal(size=(20, 1, 8, 8)), 10, axis=0)
    target = Samples(rng.normal(size=(200, 1, 8, 8)))
    pair = sound(rows=200, source=Samples(x, np.arange(200) // 10), target=target)
    pair.source_labels = rng.integers(2, size=20).repeat(10)
    assert only(findings(pair), "shortcut: brightness", "source").severity == "ok"


def test_a_file_that_is_sorted_by_class():
    pair = sound()
    order = np.argsort(pair.source_labels, kind="stable")
    pair.source, pair.source_labels = Samples(pair.source.x[order]), pair.source_labels[order]
    found = findings(pair)
    assert only(found, "file order", "source").severity == "low"
    assert alarming(found) == {}


def test_values_that_are_not_finite():
    pair = sound()
    pair.source.x[[3, 9], 0, 0, 0] = np.nan
    pair.target.x[5] = np.inf
    found = findings(pair)
    assert alarming(found) == {("finite values", "source"): "high", ("finite values", "target"): "high"}
    assert only(found, "finite values", "source").rows == (3, 9)
    assert "2 rows" in only(found, "finite values", "source").message


@pytest.mark.parametrize(
    ("domains", "value", "shape"),
    [
        (("source",), np.nan, "images"),
        (("target",), np.inf, "images"),
        (("source", "target"), np.nan, "images"),
        (("source",), np.inf, "vectors"),
    ],
)
def test_every_row_has_a_value_that_is_not_finite(domains, value, shape):
    pair = sound()
    if shape == "vectors":
        rng = np.random.default_rng(0)
        pair.source, pair.target = Samples(rng.normal(size=(160, 6))), Samples(rng.normal(size=(160, 6)))
    for domain in domains:
        getattr(pair, domain).x[(slice(None), *[0] * (getattr(pair, domain).x.ndim - 1))] = value
    found = findings(pair)
    assert alarming(found) == {("finite values", domain): "high" for domain in domains}
    assert "--set data.missing=nan,inf,-inf" in only(found, "finite values", domains[0]).message
    assert "no row of the" in only(found, "domain shift", "both").message
    assert alarming(findings(pair, missing=["nan", "inf"])) == {}


def test_empty_constant_and_saturated_images():
    pair = sound()
    pair.source.x[4] = 0
    pair.target.x[[5, 6, 7]] = 3
    np.minimum(pair.target.x[20:40], 4, out=pair.target.x[20:40])
    found = findings(pair)
    assert only(found, "empty images", "source").severity == "medium"
    assert "1 all zero" in only(found, "empty images", "source").message
    assert only(found, "empty images", "target").severity == "high"
    assert only(found, "empty images", "target").rows == (5, 6, 7)
    assert only(found, "saturation", "target").severity == "medium"
    assert only(found, "saturation", "source").severity == "ok"


def test_units_and_types():
    pair = sound()
    pair.target = Samples((pair.target.x * 40 + 100).clip(0, 255).astype(np.uint8))
    assert only(findings(pair), "units", "both").severity == "medium"
    pair = sound()
    pair.target = Samples(pair.target.x.astype(np.float64))
    assert only(findings(pair), "units", "both").severity == "low"


@pytest.mark.parametrize(("rare", "severity"), [(1, "high"), (8, "medium"), (30, "low"), (70, "ok")])
def test_balance(rare, severity):
    pair = sound()
    pair.source_labels = (np.random.default_rng(0).permutation(160) < rare).astype(np.int64)
    assert only(findings(pair), "class balance", "source").severity == severity


def test_vectors():
    rng = np.random.default_rng(0)
    pair = sound(source=Samples(rng.normal(size=(160, 6))), target=Samples(rng.normal(size=(90, 6))))
    assert alarming(findings(pair)) == {}
    pair.source.x[pair.source_labels == 1] += 2
    assert alarming(findings(pair)) == {}  # all that a classifier could wish for
    pair.source.x[:, 3] = pair.source_labels
    assert alarming(findings(pair)) == {("shortcut: single feature", "source"): "high"}


@pytest.mark.parametrize("rows", [4, 7, 16])
def test_tiny_data(rows):
    assert alarming(findings(sound(rows=rows))).keys() <= {("split", "both")}


def test_data_that_no_run_could_use():
    with pytest.raises(DataError, match="differ in shape"):
        findings(sound(target=Samples(np.ones((9, 2, 5, 5)))))


def test_the_report_as_json():
    report = report_on(sound())
    read = json.loads(json.dumps(as_json(report)))
    assert len(read["findings"]) == len(report.findings)
    assert read["high"] == read["medium"] == 0
