"""From values to batches: no digits are lost, missing values are filled, what is odd is noted."""

import numpy as np
import pytest
import torch

from datk.base.errors import DataError
from datk.config.models import TrainConfig
from datk.data.dataset import TrainingData, prepare
from datk.data.rows import evaluation_batch
from datk.interfaces import Samples
from tests import build
from tests.data.test_dataset import TOY, images


def values(x, **data):
    """What is prepared of a toy pair whose samples are replaced."""
    chosen = build.experiment(
        pair={"name": TOY, "source_rows": len(x[0]), "target_rows": len(x[1])},
        data={"standardize": "per-domain", **data},
    )
    pair = chosen.pair.cls(chosen.pair.config)
    pair.source, pair.target = (Samples(np.asarray(each)) for each in x)
    return prepare(pair, build.task_of(chosen), chosen.config, build.CPU)


def normal(rows=80, shape=(3,), seed=0):
    return np.random.default_rng(seed).normal(size=(rows, *shape))


@pytest.mark.parametrize("memory_gb", [1.0, 1e-9])
@pytest.mark.parametrize(
    ("offset", "unit", "dtype"),
    [(2459000.5, 0.05, np.float64), (0, 1e-46, np.float64), (0, 1e300, np.float64), (2e9, 20, np.int32)],
)
def test_batches_lose_no_digits(offset, unit, dtype, memory_gb):
    y = [np.round(normal(seed=seed), 2) * (50 if dtype == np.int32 else 1) for seed in (0, 1)]
    plain = values(y)
    data = values([(offset + unit * each).astype(dtype) for each in y], memory_gb=memory_gb)
    for name in ("source", "target"):
        domain, same = getattr(data.training, name), getattr(plain.training, name)
        for part in ("train", "validation", "test"):
            rows = getattr(domain.split, part)
            torch.testing.assert_close(images(domain, rows), images(same, rows), atol=1e-5, rtol=1e-5)
    assert data.notes == ()


@pytest.mark.parametrize("memory_gb", [1.0, 1e-9])
@pytest.mark.parametrize("augment", ["none", "rotate-zoom"])
def test_missing_values_are_filled_before_anything_else(memory_gb, augment):
    """Not after interpolation, which would spread them over their neighbours."""
    x = [normal(40, (2, 8, 8), seed).astype(np.float32) for seed in (0, 1)]
    marked = [each.copy() for each in x]
    for each, other in zip(marked, x, strict=True):
        each[:, 0, 2, 2] = np.where(np.arange(40) % 3, np.nan, -999)
        other[:, 0, 2, 2] = 0.25
    data = values(marked, missing=["nan", -999], missing_fill=0.25, memory_gb=memory_gb)
    moved = TrainConfig(augment=augment, batch_size=16)
    batches = [
        batch.x
        for pair in TrainingData(
            data.training.source, data.training.target, torch.arange(40) % 2, moved, 0
        ).batches(0)
        for batch in pair
    ]
    assert all(batch.isfinite().all() for batch in batches)
    assert max(batch.abs().max() for batch in batches) < 8
    assert data.notes == ()
    for name, marked_x, filled in zip(("source", "target"), marked, x, strict=True):
        domain = getattr(data.training, name)
        rows = domain.split.train
        mean, std, _, _ = domain.standardize.constants()
        known = np.where(marked_x == -999, np.nan, marked_x)[np.sort(rows)]
        np.testing.assert_allclose(mean, np.nanmean(known, axis=(0, 2, 3)), rtol=1e-5)
        expected = (filled[rows] - mean[:, None, None]) / std[:, None, None]
        np.testing.assert_allclose(images(domain, rows), expected, atol=1e-5)


def test_values_that_are_not_finite_are_refused_unless_they_are_named():
    x = [normal(), normal(seed=1)]
    x[1][[4, 9], 1] = np.nan
    with pytest.raises(DataError, match=r"target: 2 values are NaN.*the first in row 4; .*data\.missing=nan"):
        values(x)
    with pytest.raises(DataError, match=r"target: 2 values"):
        values(x, missing=-999)
    assert images(values(x, missing="nan").training.target, np.arange(80)).isfinite().all()


def test_notes_name_domain_channel_value_rows_and_the_option():
    x = [np.rint(100 * normal(200, (2, 6, 6), seed)).astype(np.int16) for seed in (0, 1)]
    x[0][:30, 1, 0, 0] = -32768
    (note,) = values(x).notes
    assert note.startswith(
        "source: the value -32768 looks like a marker of missing data (in channel 1, 30 of 200"
    )
    assert "--set data.missing=-32768" in note
    assert values(x, missing=-32768).notes == ()
    coarse = (2459000.5 + 0.05 * normal(200, (2, 6, 6))).astype(np.float32)
    (note,) = values([x[0], coarse], missing=-32768).notes
    assert note.startswith(
        "target: channels 0, 1: values about 2.459e+06 differ by a few roundings of float32"
    )


@pytest.mark.parametrize("of", ["cleaned", "float64", "plain"])
def test_inherited_constants_are_those_that_rows_are_read_by(of):
    x = [normal(), normal(seed=1)]
    other = {
        "cleaned": lambda: values(
            [np.where(each > 1, -999, 3 * each) for each in x], missing=-999, clip=[5, 95]
        ),
        "float64": lambda: values([2459000.5 + 0.05 * each for each in x]),
        "plain": lambda: values([(3 * each).astype(np.float32) for each in x]),
    }[of]()
    state = other.standardizers.state_dict()
    data = values([each.astype(np.float32) for each in x])
    data.inherit(state)
    assert data.standardizers.state_dict().keys() == state.keys()
    rows = np.arange(80)
    reader = other.training.source.standardize.reader(np.zeros(80, dtype=np.int64))
    expected = reader(data.pair.source.x, rows)
    np.testing.assert_allclose(images(data.training.source, rows), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "batch_size", "given", "expected"),
    [
        ((6,), 16, None, 256),
        ((3, 75, 75), 16, None, 16),
        ((3, 75, 75), 128, None, 128),
        ((3, 75, 75), 512, None, 256),
        ((1, 32, 32), 16, None, 256),
        ((3, 32, 32), 16, None, 85),
        ((6,), 16, 7, 7),
        ((3, 75, 75), 16, 1000, 1000),
    ],
)
def test_rows_that_are_evaluated_at_a_time(shape, batch_size, given, expected):
    """As many as in training, more if they are small; as many as are asked for."""
    train = {"batch_size": batch_size}
    config = build.experiment(train=train, data={"evaluation_batch": given}).config
    assert evaluation_batch(config, shape) == expected


def test_evaluation_passes_no_more_rows_than_it_is_told():
    chosen = build.experiment(pair={"name": TOY}, data={"evaluation_batch": 7})
    data = build.dataset(chosen).training
    for domain in (data.source, data.target):
        sizes = [len(x) for x, _ in domain.in_order(np.arange(40))]
        assert sizes == [7, 7, 7, 7, 7, 5]
    assert [len(batch.x) for batch in data.in_order().target] == [7] * 5
