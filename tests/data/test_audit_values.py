"""Audit of values: markers, extremes and lost digits are told as such, and make no duplicates."""

import numpy as np
import pytest

from datk.interfaces import Samples
from tests.data.test_audit import alarming, findings, only, sound


@pytest.mark.parametrize(
    ("value", "dtype", "rows"),
    [
        (-32768, np.int16, range(0, 60, 2)),
        (-32768, np.float32, range(160)),
        (1e30, np.float32, range(0, 60, 2)),
        (1e30, np.float32, [3]),
        (-999, np.float64, [5, 9]),
        (65535, np.uint16, range(20)),
    ],
)
def test_a_marker_of_missing_data_is_told_as_such_and_not_as_duplicates(value, dtype, rows):
    pair = sound()
    for domain in ("source", "target"):
        scaled = np.rint(100 * getattr(pair, domain).x + 1000)
        setattr(pair, domain, Samples(scaled.astype(dtype)))
    pair.source.x[list(rows), 0, 0, 0] = value
    found = findings(pair)
    severity = "medium" if len(rows) == 1 else "high"
    assert alarming(found) == {("odd values", "source"): severity}
    finding = only(found, "odd values", "source")
    assert finding.rows == tuple(rows)
    shown = {1e30: "1e+30"}.get(value, str(value))
    assert f"the value {shown} looks like a marker of missing data (in channel 0, " in finding.message
    assert f"{len(rows)} of 160 rows" in finding.message
    assert f"--set data.missing={shown} fills it" in finding.message
    assert alarming(findings(pair, missing=[value])) == {}


def test_extremes_are_told_and_cut():
    pair = sound()
    pair.target.x[4, 1, 3:5, 3] = 80, 300
    found = findings(pair)
    assert alarming(found) == {}
    finding = only(found, "odd values", "target")
    assert finding.severity == "low"
    assert "deviations in channel 1 (300 in 1 of 160 rows)" in finding.message
    assert "--set data.clip=[0.1,99.9]" in finding.message
    assert only(findings(pair, clip=[0.1, 99.9]), "odd values", "target").severity == "ok"


@pytest.mark.parametrize(
    ("offset", "unit", "dtype", "shape"),
    [
        (2459000.5, 0.05, np.float64, (160, 1)),
        (0.0, 1e-46, np.float64, (160, 3)),
        (0.0, 1e300, np.float64, (160, 1)),
        (2e9, 1e7, np.int32, (160, 3)),
        (1.7e18, 1e9, np.int64, (160, 1)),
    ],
)
def test_offsets_and_units_make_no_duplicates(offset, unit, dtype, shape):
    rng = np.random.default_rng(0)
    source, target = (dtype(offset) + (unit * rng.normal(size=shape)).astype(dtype) for _ in range(2))
    pair = sound(source=Samples(source), target=Samples(target))
    found = findings(pair)
    assert alarming(found) == {}
    assert only(found, "duplicates", "source").severity == "ok"
    pair.source.x[9], pair.target.x[5] = pair.source.x[8], pair.source.x[7]
    found = findings(pair)
    assert "1 pair (1 exact, 0 near): 8=9" in only(found, "duplicates", "source").message
    assert "source=target: 7=5" in only(found, "duplicates", "both").message


def test_digits_that_were_lost_before_are_told():
    rng = np.random.default_rng(0)
    source, target = (2459000.5 + 0.05 * rng.normal(size=(160, 2)) for _ in range(2))
    pair = sound(source=Samples(source.astype(np.float32)), target=Samples(target))
    found = findings(pair)
    finding = only(found, "precision", "source")
    assert finding.severity == "medium"
    assert "channels 0, 1: values about 2.459e+06 differ by a few roundings of float32" in finding.message
    assert only(found, "precision", "target").severity == "ok"
    assert only(found, "duplicates", "source").severity == "low"
    assert "rounded so coarsely" in only(found, "duplicates", "source").message
