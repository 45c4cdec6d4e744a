"""The audit of vectors speaks of rows and features."""

import json

import numpy as np
import pytest


def audit(datk, x, y, **options):
    np.savez("table.npz", x=x, y=y, t=x + 0.5)
    keys = {"source": "table.npz", "source_x": "x", "source_y": "y", "target": "table.npz", "target_x": "t"}
    flags = [f"--set=pair.{key}={value}" for key, value in keys.items()]
    flags += [f"--set={key}={value}" for key, value in options.items()]
    found = json.loads(datk("data", "audit", "arrays", "--json", *flags).out)["findings"]
    return {(each["check"], each["domain"]): each for each in found}


def table(rows=300, classes=3, seed=0, strength=2.0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, rows)
    x = rng.normal(size=(rows, 6)).astype(np.float32)
    x[:, :2] += strength * y[:, None]
    return x, y, rng


def test_a_table_that_can_be_learnt_has_no_shortcut(datk):
    x, y, _ = table()
    found = audit(datk, x, y)
    assert found["shortcut: single feature", "source"]["severity"] == "ok"
    assert not [check for check, _ in found if "brightness" in check or "image" in check]
    assert ("empty rows", "source") in found


@pytest.mark.parametrize("classes", [2, 3, 7])
@pytest.mark.parametrize("made", ["label", "noisy label", "a few wrong"])
def test_a_column_that_is_the_label_is_found(datk, classes, made):
    x, y, rng = table(classes=classes, strength=0.5)
    x[:, 4] = 10 * y + {"label": 0, "noisy label": rng.normal(size=len(y)), "a few wrong": 0}[made]
    if made == "a few wrong":
        x[0, 4] = 10 * ((y[0] + 1) % classes)
    finding = audit(datk, x, y)["shortcut: single feature", "source"]
    assert finding["severity"] == "high"
    assert finding["message"].startswith("feature 4 alone gives the label away")


def test_a_constant_feature_is_none(datk):
    x, y, _ = table()
    x[:, 3] = 1
    assert audit(datk, x, y)["shortcut: single feature", "source"]["severity"] == "ok"


def test_few_rows_and_many_features_say_nothing(datk):
    rng = np.random.default_rng(0)
    found = audit(datk, rng.normal(size=(30, 400)), np.arange(30) % 2)
    assert "too few rows" in found["shortcut: single feature", "source"]["message"]


def test_a_number_among_the_features_is_found(datk):
    x, _, rng = table()
    numbers = rng.normal(size=len(x))
    x[:, 5] = np.exp(numbers)
    finding = audit(datk, x, numbers, task="regression")["shortcut: single feature", "source"]
    assert (finding["severity"], "feature 5 alone" in finding["message"]) == ("high", True)
    x[:, 5] += rng.normal(size=len(x))
    assert (
        audit(datk, x, numbers, task="regression")["shortcut: single feature", "source"]["severity"] == "ok"
    )
