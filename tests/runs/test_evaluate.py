"""Scores of a trained network; the only place that reads target labels."""

import ast
from pathlib import Path

import numpy as np
import pytest
import torch

import datk
from datk.base.errors import ConfigError, DataError, RunError
from datk.data.dataset import prepare
from datk.interfaces import OTHER_CLASS, Outputs
from datk.runs.evaluate import answers_checksum, evaluate, evaluation, inform
from datk.training.predict import predict
from datk_tasks.metrics import score, softmax
from tests import build
from tests.build import run


def prepared(shape=(2, 16, 16), backbone="deepmerge", **options):
    pair = {"name": build.TOYS + "Toy", "shape": list(shape), **options}
    chosen = build.experiment(pair=pair, backbone=backbone)
    data = build.dataset(chosen)
    return build.objective(chosen, data.info).backbone, data


def test_every_number_belongs_to_its_rows():
    backbone, data = prepared()
    found = evaluate(backbone, data)
    assert set(found) == {"source", "target"}
    assert set(found["source"]) == {"validation", "test"}
    assert set(found["target"]) == {"test"}
    source, target = data.training.source, data.training.target
    for metrics, domain, rows, labels in [
        (found["source"]["validation"], source, source.split.validation, data.pair.source_labels),
        (found["source"]["test"], source, source.split.test, data.pair.source_labels),
        (found["target"]["test"], target, target.split.test, data.pair.answers(np.arange(50))),
    ]:
        assert metrics == score(softmax(predict(backbone, domain, rows)), labels[rows])
        assert metrics["n"] == len(rows)


def test_a_target_without_labels_has_no_scores(tmp_path):
    backbone, data = prepared(labelled=False)
    assert evaluate(backbone, data)["target"] == {}
    result = run(tmp_path / "run", "mmd", pair={"labelled": False}, epochs=1)
    assert result.metrics["target"] == {}
    assert result.notes == ["toy data", "the target has no labels: nothing on the target could be scored"]


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        (lambda rows: np.full(len(rows), 2), r"target: labels must lie in 0\.\.1"),
        (lambda rows: np.full(len(rows), -3), r"target: labels must lie in 0\.\.1"),
        (lambda rows: np.full(len(rows), 0.5), r"target: labels must be class numbers"),
        (lambda rows: np.full(len(rows), "0"), r"target: .* of strings"),
        (lambda rows: np.array([None, *["a"] * (len(rows) - 1)]), r"target: .* of Python objects"),
        (lambda rows: np.zeros(3, dtype=int), r"target: 10 rows but labels of shape \[3\]"),
    ],
)
def test_answers_that_cannot_be_are_refused(answers, message):
    backbone, data = prepared()
    data.pair.answers = answers
    with pytest.raises(DataError, match=message):
        evaluate(backbone, data)


# --- labels of some rows -------------------------------------------------------------------------------

MISSING = {
    "-1": -1,
    "NaN": np.nan,
    "None": None,
}


@pytest.mark.parametrize("kind", MISSING)
def test_labelled_rows_of_known_classes_are_scored(kind):
    backbone, data = prepared((6,), "mlp")
    truth, target = data.pair._answers.copy(), data.training.target
    everything = evaluation(backbone, data)
    told = truth.astype(object)
    told[::3], told[1::7] = MISSING[kind], OTHER_CLASS
    numbers = np.array([-1 if value != value or value is None else value for value in told], int)
    given = {"-1": numbers, "NaN": np.where(numbers == -1, np.nan, numbers), "None": told}[kind]
    data.pair.answers = lambda rows: given[rows]
    found = evaluation(backbone, data)
    rows = target.split.test
    scored = rows[numbers[rows] >= 0]
    wanted = score(softmax(predict(backbone, target, rows))[numbers[rows] >= 0], truth[scored])
    assert found.metrics["target"]["test"] == wanted
    assert 0 < wanted["n"] < len(rows)
    counts = {
        "scored": len(scored),
        "unlabelled": int((numbers[rows] == -1).sum()),
        "other_class": int((numbers[rows] == OTHER_CLASS).sum()),
    }
    assert found.target_labels == counts
    assert sum(counts.values()) == len(rows)
    assert sum(found.class_counts["target"]["test"].values()) == wanted["n"]
    assert found.notes[0].startswith(f"{wanted['n']} of {len(rows)} test rows of the target are scored")
    assert found.metrics["source"] == everything.metrics["source"]
    assert found.answers_sha256 != everything.answers_sha256
    assert everything.target_labels == {"scored": len(rows), "unlabelled": 0, "other_class": 0}
    assert everything.notes == ()


@pytest.mark.parametrize("value", [-1, OTHER_CLASS, np.nan, None])
def test_a_target_without_a_label_that_can_be_scored(value):
    backbone, data = prepared((6,), "mlp")
    data.pair.answers = lambda rows: np.array([value] * len(rows))
    found = evaluation(backbone, data)
    assert found.metrics["target"] == {}
    kind = "other_class" if value == OTHER_CLASS else "unlabelled"
    assert found.target_labels == {"scored": 0, "unlabelled": 0, "other_class": 0, kind: 10}
    assert found.notes == (
        "no test row of the target has a label of a class of the source: nothing could be scored",
    )


def test_numbers_that_are_not_known():
    chosen = build.experiment(task="regression")
    pair, rng = chosen.pair.cls(chosen.pair.config), np.random.default_rng(0)
    pair.classes, pair.targets = (), ("mass", "size")
    pair.source_labels, pair._answers = rng.normal(size=(40, 2)), rng.normal(size=(50, 2))
    pair._answers[::3, 0] = np.nan
    pair._answers[::5, 1] = np.nan
    data = prepare(pair, build.task_of(chosen), chosen.config, build.CPU)
    backbone = build.objective(chosen, data.info).backbone
    found, rows = evaluation(backbone, data), data.training.target.split.test
    labels = data.pair._answers[rows]
    whole = np.isfinite(labels).all(axis=1)
    assert 0 < whole.sum() < len(rows)
    wanted = data.task.score(
        torch.from_numpy(predict(backbone, data.training.target, rows)[whole]),
        torch.from_numpy(labels[whole]),
    )
    assert found.metrics["target"]["test"] == pytest.approx(wanted)
    assert found.target_labels == {"scored": whole.sum(), "unlabelled": (~whole).sum(), "other_class": 0}
    assert found.class_counts == {}


def test_the_oracle_goes_by_the_rows_that_have_labels():
    chosen = build.experiment(train={"select": "oracle"})
    data = build.dataset(chosen)
    oracle = chosen.select.cls(chosen.select.config, data.task)
    truth, rows = data.pair._answers.copy(), data.training.target.split.validation
    told = truth.copy()
    told[rows[0]] = -1
    data.pair.answers = lambda rows: told[rows]
    inform(oracle, data)
    assert oracle.scored.tolist() == [False, *[True] * (len(rows) - 1)]
    logits = torch.eye(2)[torch.from_numpy(truth[rows])]
    logits[0] = logits[0].flip(0)  # wrong where nobody knows
    outputs = Outputs(logits, logits, None)
    assert oracle.score(outputs, outputs) == 1.0
    data.pair.answers = lambda rows: np.full(len(rows), -1)
    with pytest.raises(ConfigError, match="oracle needs target labels, and this pair has none for"):
        inform(oracle, data)


# --- what is recorded of the labels --------------------------------------------------------------------


def test_rows_of_each_class_are_counted():
    backbone, data = prepared((6,), "mlp", classes=3, source_rows=60, sources=2)
    found, split = evaluation(backbone, data), data.training.source.split
    assert set(found.class_counts) == {"source", "source: telescope 0", "source: telescope 1", "target"}
    for part in ("train", "validation", "test"):
        labels = data.pair.source_labels[getattr(split, part)].tolist()
        wanted = {f"class {k}": labels.count(k) for k in range(3)}
        assert found.class_counts["source"][part] == wanted
        both = [found.class_counts[f"source: telescope {k}"][part] for k in range(2)]
        assert {name: both[0][name] + both[1][name] for name in wanted} == wanted
    labels = data.pair._answers[data.training.target.split.test].tolist()
    assert found.class_counts["target"] == {"test": {f"class {k}": labels.count(k) for k in range(3)}}


@pytest.mark.parametrize(
    ("classes", "absent", "said"),
    [
        (4, 2, "no test row of the target is of 'class 2': precision, recall, F1 and AUC are means over the"),
        (2, 1, "no test row of the target is of 'class 1': without the positive class precision, recall, F1"),
        (2, 0, "no test row of the target is of 'class 0': AUC is not defined there"),
    ],
)
def test_classes_without_test_rows_are_named(classes, absent, said):
    backbone, data = prepared((6,), "mlp", classes=classes, source_rows=120)
    rows = data.training.target.split.test
    data.pair._answers[rows] = np.resize([k for k in range(classes) if k != absent], len(rows))
    found = evaluation(backbone, data)
    assert found.class_counts["target"]["test"][f"class {absent}"] == 0
    assert next(note for note in found.notes if "target" in note).startswith(said)


def test_the_checksum_is_of_the_labels_of_the_rows_that_are_scored():
    backbone, data = prepared((6,), "mlp")
    truth, split = data.pair._answers, data.training.target.split
    before = evaluation(backbone, data).answers_sha256
    assert answers_checksum(data.pair, True, split.test[::-1]) == before
    truth[split.train] = 1 - truth[split.train]
    assert evaluation(backbone, data).answers_sha256 == before
    truth[split.test[3]] = 1 - truth[split.test[3]]
    after = evaluation(backbone, data).answers_sha256
    assert after == answers_checksum(data.pair, True, split.test) != before
    data.pair.answers = lambda rows: None
    assert evaluation(backbone, data).answers_sha256 not in (before, after)


@pytest.mark.parametrize("wrong", [torch.nan, torch.inf])
def test_outputs_that_are_not_finite_are_told(wrong):
    backbone, data = prepared()
    standardize = data.training.target.standardize
    standardize.mean[0] = wrong
    with pytest.raises(RunError, match=r"output is not finite for 10 of 10 rows of the target"):
        evaluate(backbone, data)


def test_one_class_only_in_the_test_split(tmp_path):
    backbone, data = prepared()
    data.pair.answers = np.zeros_like
    found = evaluate(backbone, data)["target"]["test"]
    assert found["auc"] is None
    assert 0 <= found["accuracy"] <= 1


@pytest.mark.parametrize("classes", [3, 5])
def test_more_than_two_classes(classes, tmp_path):
    pair = {"classes": classes, "source_rows": 100, "target_rows": 100}
    result = run(
        tmp_path / "run",
        "mmd",
        ["fisher", "entropy"],
        pair=pair,
        data={"standardize": "per-domain"},
        epochs=15,
        batch_size=32,
        lr=0.01,
    )
    for metrics in (result.metrics["source"]["test"], result.metrics["target"]["test"]):
        assert metrics["accuracy"] > 1.5 / classes
        assert metrics["auc"] > 0.6


def test_each_of_several_sources_has_scores_of_its_own(tmp_path):
    pair = {"sources": 3, "source_rows": 120}
    result = run(tmp_path / "run", "mmd", pair=pair)
    names = [f"source: telescope {number}" for number in range(3)]
    assert set(result.metrics) == {"source", "target", *names}
    backbone, data = prepared((6,), "mlp", **pair)
    found = evaluate(backbone, data)
    source, numbers = data.training.source, data.pair.source.domain
    for part, rows in (("validation", source.split.validation), ("test", source.split.test)):
        logits = predict(backbone, source, rows)
        for number in range(3):
            own = numbers[rows] == number
            expected = score(softmax(logits[own]), data.pair.source_labels[rows][own])
            assert found[f"source: telescope {number}"][part] == expected
            assert expected["n"] > 0
        assert sum(found[f"source: telescope {number}"][part]["n"] for number in range(3)) == len(rows)


def test_a_source_without_rows_in_a_part_has_no_scores_there():
    backbone, data = prepared((6,), "mlp", sources=2)
    source = data.training.source
    source.numbers[source.split.validation] = 0
    found = evaluate(backbone, data)
    assert set(found["source: telescope 0"]) == {"validation", "test"}
    assert set(found["source: telescope 1"]) == {"test"}


def test_the_pair_is_asked_for_answers_in_the_order_of_its_file(tmp_path, monkeypatch):
    """As HDF5 wants it, whatever the order of the rows that a selector sees."""
    pair_of = build.experiment().pair.cls
    asked = []

    def answers(self, rows, original=pair_of.answers):
        asked.append(rows)
        return original(self, rows)

    monkeypatch.setattr(pair_of, "answers", answers)
    run(tmp_path / "run", select="oracle")
    assert len(asked) == 2
    assert all((np.diff(rows) > 0).all() for rows in asked)


def test_nothing_else_in_datk_asks_for_answers():
    folder = Path(datk.__file__).parent
    readers = {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr == "answers"
    }
    inside = {reader for reader in readers if not reader.startswith("testing")}
    assert inside == {"runs/evaluate.py", "runs/oracle.py"}
