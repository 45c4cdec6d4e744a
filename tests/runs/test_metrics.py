"""What tables call the numbers of a result, and how they show them."""

import pytest

from datk.interfaces import Metric
from datk.runs.metrics import domain_order, metric_named, metric_text, metrics_of, ordered, several_numbers


def test_metrics_by_the_name_of_the_task():
    assert list(metrics_of("regression")) == list(metrics_of("datk:regression")) == ["r2", "mae", "rmse"]
    assert next(iter(metrics_of("classification"))) == "accuracy"
    assert metrics_of("gone") == {}


def test_a_metric_of_one_of_several_numbers():
    metrics = metrics_of("regression")
    assert metric_named(metrics, "mae redshift 2") == Metric(
        "MAE redshift 2", more_is_better=False, in_label_units=True
    )
    assert metric_named(metrics, "r2") == Metric("R²")
    for unknown in ("mea", "mea redshift", "mae ", "redshift"):
        assert metric_named(metrics, unknown) is None
    assert metric_named(metrics_of("classification"), "accuracy redshift") is None


@pytest.mark.parametrize(
    ("name", "value", "spread", "text"),
    [
        ("r2", 0.71249, None, "0.712"),
        ("r2", 0.71249, 0.01, "0.712 ± 0.010"),
        ("r2", -51234.5, None, "-51234"),
        ("mae", 0.00012345, None, "0.0001234"),
        ("mae z", 312340.4, 118.0, "312340 ± 118"),
        ("gone", 0.71249, None, "0.7125"),
        ("r2", None, None, "–"),
    ],
)
def test_how_values_are_shown(name, value, spread, text):
    assert metric_text(metric_named(metrics_of("regression"), name), value, spread) == text


def test_the_order_of_tables():
    found = dict.fromkeys(["r2 b", "mae", "n", "r2", "r2 a"])
    assert ordered(metrics_of("regression"), found) == ["r2", "mae", "r2 b", "r2 a", "n"]
    domains = dict.fromkeys(["source", "target", "source: b", "source: a"])
    assert domain_order(domains) == ["source", "source: b", "source: a", "target"]


def test_the_numbers_of_a_result():
    assert several_numbers(["r2", "mae", "r2 a", "mae a", "r2 b c", "n"]) == ["a", "b c"]
    assert several_numbers(["accuracy", "n"]) == []
