"""`data.standardize`: by which constants each domain is standardised."""

import numpy as np
import pytest
import torch

import datk
from datk.base.errors import ConfigError
from tests import build
from tests.toys import TOYS


def dataset(by, pair=(), **data):
    chosen = build.experiment(pair={"name": TOYS + "Toy", **dict(pair)}, data={"standardize": by, **data})
    return build.dataset(chosen)


def seen(domain, rows):
    return torch.cat([x for x, _ in domain.in_order(rows)]).numpy()


def test_by_default_the_target_gets_the_constants_of_the_source():
    data = build.dataset(build.experiment())
    source, target, pair = data.training.source, data.training.target, data.pair
    rows = pair.source.x[source.split.train]
    mean, std = rows.mean(axis=0), rows.std(axis=0)
    for domain, samples in ((source, pair.source), (target, pair.target)):
        expected = (samples.x[domain.split.test] - mean) / std
        np.testing.assert_allclose(seen(domain, domain.split.test), expected, rtol=1e-4, atol=1e-5)
    assert abs(seen(target, target.split.test).mean()) > 0.5  # the shift is still there


@pytest.mark.parametrize("by", ["source", "none"])
def test_nothing_of_the_target_comes_in(by):
    """Other target rows leave what the network sees of the others as it is."""
    one, other = dataset(by).training, dataset(by, {"target_seed": 7, "shift": 50.0}).training
    np.testing.assert_array_equal(
        seen(one.source, one.source.split.train), seen(other.source, other.source.split.train)
    )
    for name in ("mean", "std"):
        ours, theirs = (getattr(each.target.standardize, name) for each in (one, other))
        assert torch.equal(ours, theirs)


def test_per_domain_takes_a_shift_away():
    data = dataset("per-domain", {"shift": 1000.0}).training
    assert np.abs(seen(data.target, data.target.split.train).mean(axis=0)).max() < 1e-4


def test_none_leaves_values_as_they_are():
    data = dataset("none")
    rows = data.training.target.split.train
    np.testing.assert_allclose(seen(data.training.target, rows), data.pair.target.x[rows], rtol=1e-6)
    assert not [note for note in data.notes if "deviations" in note]


def test_several_sources_share_constants():
    data = dataset("source", {"sources": 3}).training
    rows = data.source.split.train
    assert data.source.standardize.mean.shape == (6,)
    np.testing.assert_allclose(seen(data.source, rows).mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(seen(data.source, rows).std(axis=0), 1, atol=1e-3)


def arrays(rng, source, target):
    return {
        "name": "arrays",
        "source_x": source,
        "source_y": rng.permutation(len(source)) % 2,
        "target_x": target,
        "target_y": rng.permutation(len(target)) % 2,
    }


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
def test_a_feature_that_does_not_vary_in_the_source_says_nothing_in_the_target(dtype):
    rng = np.random.default_rng(0)
    source, target = (rng.integers(0, 200, (60, 4)).astype(dtype) for _ in range(2))
    source[:, 2] = 7
    chosen = build.experiment(pair=arrays(rng, source, target))
    domain = build.dataset(chosen).training.target
    assert np.all(seen(domain, domain.split.test)[:, 2] == 0)
    assert seen(domain, domain.split.test)[:, 1].std() > 0.5


def test_float64_offsets_are_kept_in_both_domains():
    rng = np.random.default_rng(0)
    source, target = (2459000.5 + 0.05 * rng.normal(size=(80, 3)) for _ in range(2))
    data = build.dataset(build.experiment(pair=arrays(rng, source, target))).training
    domain, train = data.target, source[data.source.split.train]
    expected = (target[domain.split.test] - train.mean(axis=0)) / train.std(axis=0)
    np.testing.assert_allclose(seen(domain, domain.split.test), expected, rtol=1e-4, atol=1e-5)


def test_cleaning_is_a_matter_of_the_domain():
    rng = np.random.default_rng(0)
    source, target = rng.normal(size=(80, 2)), 100 + rng.normal(size=(80, 2))
    target[::5, 0] = -999
    chosen = build.experiment(pair=arrays(rng, source, target), data={"missing": [-999]})
    domain = build.dataset(chosen).training.target
    assert seen(domain, np.arange(80)).min() > 50  # the target's own median stands in


def test_results_say_it_and_weights_bring_it_along(tmp_path):
    result = build.run(tmp_path / "run")
    assert result.standardize == "source"
    assert result.metrics["target"]["test"]["n"]
    again = build.run(tmp_path / "again", pair={"shift": 3.0}, init=tmp_path / "run")
    assert again.standardize == "source"


def test_another_word_is_refused():
    with pytest.raises(ConfigError, match=r"data.standardize.*'source', 'per-domain' or 'none'"):
        datk.run(pair=TOYS + "Toy", set={"data.standardize": "target"})
