"""What no run may start with."""

from types import SimpleNamespace

import numpy as np
import pytest

from datk.base.errors import DataError
from datk.data import rows
from datk.data.inspection import inspect_pair
from datk.interfaces import PairInfo, Samples
from datk_tasks.classification import Classification


def pair(**changes):
    rng = np.random.default_rng(0)
    parts = {
        "source": Samples(rng.normal(size=(10, 3, 4, 4))),
        "target": Samples(rng.normal(size=(12, 3, 4, 4))),
        "source_labels": np.arange(10) % 2,
        "classes": ("a", "b"),
        "targets": (),
        "sources": ("source",),
        "shared_groups": False,
        "notes": (),
    }
    return SimpleNamespace(**(parts | changes))


def inspected(pair):
    return inspect_pair(pair, Classification(Classification.Config()))


def spoiled(value, at):
    x = np.zeros((10, 3, 4, 4))
    for row in at:
        x[row, 1, 2, 3] = value
    return Samples(x)


def of_sources(numbers):
    """Samples of the sources that are numbered."""
    return Samples(pair().source.x, domain=np.array(numbers))


def test_a_sound_pair():
    found = inspected(pair())
    assert found.info == PairInfo((3, 4, 4), ("a", "b"), outputs=2)
    assert len(found.checksum) == 64


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": Samples(np.zeros((10, 3, 4)))}, "source: samples must be .* not of shape .10, 3, 4."),
        ({"source": Samples(np.zeros((0, 3, 4, 4)))}, "source: there are no samples"),
        ({"target": Samples(np.zeros((12, 0)))}, "target: there are no samples"),
        ({"target": Samples(np.zeros((12, 1, 4, 4)))}, "the source has 3 channels, the target 1"),
        ({"target": Samples(np.zeros((12, 3, 4, 5)))}, r"source \[3, 4, 4\], target \[3, 4, 5\]"),
        ({"target": Samples(np.zeros((12, 48)))}, r"source \[3, 4, 4\], target \[48\]"),
        ({"source": spoiled(np.nan, [7, 9])}, "source: 2 values are NaN.*the first in row 7"),
        ({"target": spoiled(np.inf, [0])}, "target: 1 value is NaN, infinite.*the first in row 0"),
        ({"target": spoiled(1e308, [5])}, r"target: 1 value is .*beyond 1e\+307, the first in row 5"),
        ({"source_labels": np.arange(9) % 2}, r"10 samples but labels of shape \[9\]"),
        ({"source_labels": np.arange(10) % 3}, "source: labels must lie in 0..1"),
        ({"source_labels": np.zeros((10, 2, 1), dtype=int)}, r"10 samples but labels of shape \[10, 2, 1\]"),
        (
            {"source_labels": np.linspace(0, 1, 10)},
            r"source: labels must be class numbers \[N\], not float64",
        ),
        ({"classes": ()}, "the labels are numbers, not classes; set task=regression"),
        ({"source_labels": np.arange(10) % 2 - 1}, "source: labels must lie in 0..1"),
        ({"source_labels": np.ones(10, dtype=int)}, "source: all labels are 'b'"),
        ({"source": Samples(np.zeros((10, 2)), groups=np.zeros(9, dtype=int))}, r"groups of shape \[9\]"),
        (
            {"source": Samples(np.zeros((10, 2)), test=np.zeros((10, 1), dtype=bool))},
            r"test of shape \[10, 1\]",
        ),
        ({"shared_groups": True}, "groups can be shared only if both domains have groups"),
        ({"sources": ("a", "b")}, "source: 2 sources are named, but no row says which it is from"),
        ({"source": of_sources([0] * 10)}, r"domain must hold each of the whole numbers 0\.\.1"),
        ({"source": of_sources([0, 2] * 5)}, r"domain must hold each of the whole numbers 0\.\.1"),
        ({"source": of_sources([0, 1, 2, -1, 0] * 2)}, r"domain must hold each of the whole numbers 0\.\.1"),
        (
            {"source": of_sources([0.0, 1.0] * 5)},
            r"source\.domain must be whole numbers .*not float64; give domain\.astype\(numpy\.int64\)",
        ),
        ({"source": of_sources([0, 1])}, r"source: 10 samples but domain of shape \[2\]"),
        ({"target": Samples(np.zeros((12, 3, 4, 4)), domain=np.ones(12, int))}, "the target is one domain"),
    ],
)
def test_faults_are_named(changes, message):
    if getattr(changes.get("source"), "domain", None) is not None:
        changes = {"sources": ("a", "b"), **changes}
    with pytest.raises(DataError, match=message):
        inspected(pair(**changes))


def test_the_first_bad_row_is_found_in_later_pieces(monkeypatch):
    monkeypatch.setattr(rows, "CHUNK_BYTES", 1)
    with pytest.raises(DataError, match=r"3 values are NaN.*the first in row 4"):
        inspected(pair(source=spoiled(np.nan, [4, 5, 8])))


def test_the_checksum_is_that_of_the_content(monkeypatch):
    plain = inspected(pair()).checksum
    monkeypatch.setattr(rows, "CHUNK_BYTES", 1)
    assert inspected(pair()).checksum == plain
    channels_last = np.moveaxis(np.ascontiguousarray(np.moveaxis(pair().source.x, 1, -1)), -1, 1)
    assert inspected(pair(source=Samples(channels_last))).checksum == plain
    changes = [
        {"source": Samples(pair().source.x + 1e-9)},
        {"target": Samples(pair().source.x)},
        {"source_labels": 1 - pair().source_labels},
        {"source": Samples(pair().source.x, groups=np.arange(10))},
        {"target": Samples(pair().target.x, test=np.arange(12) < 3)},
        {"source": of_sources([0] * 5 + [1] * 5), "sources": ("a", "b")},
        {"source": of_sources([1] * 5 + [0] * 5), "sources": ("a", "b")},
    ]
    assert len({plain} | {inspected(pair(**change)).checksum for change in changes}) == 1 + len(changes)


def test_domains_are_named_by_their_numbers_the_target_last():
    found = inspected(pair(source=of_sources([0, 1] * 5), sources=("HST", "JWST")))
    assert found.info.domains == ("HST", "JWST", "target")
    assert inspected(pair()).info.domains == ("source", "target")
