"""What no run may start with."""

from types import SimpleNamespace

import numpy as np
import pytest

from datk.base.errors import DataError
from datk.data import rows
from datk.data.inspection import inspect_pair
from datk.interfaces import PairInfo, Samples


def pair(**changes):
    rng = np.random.default_rng(0)
    parts = {
        "source": Samples(rng.normal(size=(10, 3, 4, 4))),
        "target": Samples(rng.normal(size=(12, 3, 4, 4))),
        "source_labels": np.arange(10) % 2,
        "classes": ("a", "b"),
        "shared_groups": False,
    }
    return SimpleNamespace(**(parts | changes))


def spoiled(value, at):
    x = np.zeros((10, 3, 4, 4))
    for row in at:
        x[row, 1, 2, 3] = value
    return Samples(x)


def test_a_sound_pair():
    inspected = inspect_pair(pair())
    assert inspected.info == PairInfo((3, 4, 4), ("a", "b"))
    assert len(inspected.checksum) == 64


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
        ({"target": spoiled(1e39, [5])}, "target: 1 value is .*beyond float32, the first in row 5"),
        ({"source_labels": np.arange(9) % 2}, r"10 samples but labels of shape \[9\]"),
        ({"source_labels": np.arange(10) % 3}, "source: labels must lie in 0..1"),
        ({"source_labels": np.arange(10) % 2 - 1}, "source: labels must lie in 0..1"),
        ({"source_labels": np.ones(10, dtype=int)}, "source: all labels are 'b'"),
        ({"source": Samples(np.zeros((10, 2)), groups=np.zeros(9, dtype=int))}, r"groups of shape \[9\]"),
        (
            {"source": Samples(np.zeros((10, 2)), test=np.zeros((10, 1), dtype=bool))},
            r"test of shape \[10, 1\]",
        ),
        ({"shared_groups": True}, "groups can be shared only if both domains have groups"),
    ],
)
def test_faults_are_named(changes, message):
    with pytest.raises(DataError, match=message):
        inspect_pair(pair(**changes))


def test_the_first_bad_row_is_found_in_later_pieces(monkeypatch):
    monkeypatch.setattr(rows, "CHUNK_BYTES", 1)
    with pytest.raises(DataError, match=r"3 values are NaN.*the first in row 4"):
        inspect_pair(pair(source=spoiled(np.nan, [4, 5, 8])))


def test_the_checksum_is_that_of_the_content(monkeypatch):
    plain = inspect_pair(pair()).checksum
    monkeypatch.setattr(rows, "CHUNK_BYTES", 1)
    assert inspect_pair(pair()).checksum == plain
    channels_last = np.moveaxis(np.ascontiguousarray(np.moveaxis(pair().source.x, 1, -1)), -1, 1)
    assert inspect_pair(pair(source=Samples(channels_last))).checksum == plain
    changes = [
        {"source": Samples(pair().source.x + 1e-9)},
        {"target": Samples(pair().source.x)},
        {"source_labels": 1 - pair().source_labels},
        {"source": Samples(pair().source.x, groups=np.arange(10))},
        {"target": Samples(pair().target.x, test=np.arange(12) < 3)},
    ]
    assert plain not in {inspect_pair(pair(**change)).checksum for change in changes}
