"""From a pair to the batches of a step."""

import numpy as np
import pytest
import torch

from datk.base.errors import ConfigError, DataError
from datk.data.dataset import prepare
from datk.data.symmetries import dihedral
from tests import build
from tests.toys import TOYS

TOY = TOYS + "Toy"


def experiment(train=None, memory_gb=None, **options):
    config = {"train": train or {}, "data": {"memory_gb": memory_gb, "standardize": "per-domain"}}
    return build.experiment(pair={"name": TOY, **options}, **config)


def dataset(train=None, memory_gb=None, **options):
    return build.dataset(experiment(train, memory_gb, **options))


def images(domain, rows):
    """Standardised samples of the given rows, in order."""
    return torch.cat([x for x, _ in domain.in_order(rows)])


@pytest.mark.parametrize(("source_rows", "target_rows"), [(40, 50), (100, 12), (12, 300), (5, 5)])
@pytest.mark.parametrize("batch_size", [4, 16, 512])
def test_batches_of_constant_shape_cover_both_domains(source_rows, target_rows, batch_size):
    data = dataset({"batch_size": batch_size}, source_rows=source_rows, target_rows=target_rows).training
    from_source = torch.zeros(data.source_size, dtype=torch.long)
    from_target = torch.zeros(data.target_size, dtype=torch.long)
    shapes = set()
    for epoch in range(3):
        batches = list(data.batches(epoch))
        assert len(batches) == data.steps()
        seen = torch.cat([source.index for source, _ in batches])
        assert len(seen.unique()) == data.source_size
        for source, target in batches:
            shapes.add((tuple(source.x.shape), tuple(target.x.shape), len(source.y)))
            from_source += torch.bincount(source.index, minlength=data.source_size)
            from_target += torch.bincount(target.index, minlength=data.target_size)
    smaller = min(batch_size, data.source_size), min(batch_size, data.target_size)
    assert shapes == {((smaller[0], 6), (smaller[1], 6), smaller[0])}
    assert from_target.max() - from_target.min() <= 1
    assert from_source.max() <= 6


def test_batches_hold_the_rows_that_their_index_names():
    prepared = dataset({"batch_size": 7})
    data, pair = prepared.training, prepared.pair
    for source, target in data.batches(0):
        rows = data.source.split.train[source.index]
        expected = data.source.standardize(torch.from_numpy(pair.source.x[rows]))
        assert torch.equal(source.x, expected)
        np.testing.assert_array_equal(source.y, pair.source_labels[rows])
        rows = data.target.split.train[target.index]
        assert torch.equal(target.x, data.target.standardize(torch.from_numpy(pair.target.x[rows])))


def test_each_domain_is_standardised_by_its_own_training_rows():
    data = dataset(shift=100.0).training
    for domain in (data.source, data.target):
        x = images(domain, domain.split.train)
        torch.testing.assert_close(x.mean(dim=0), torch.zeros(6), atol=1e-4, rtol=0)
        torch.testing.assert_close(x.std(dim=0, correction=0), torch.ones(6), atol=1e-4, rtol=0)


@pytest.mark.parametrize("rows", [1, 255, 256, 257, 600])
def test_in_order_gives_every_image_to_the_last(rows):
    prepared = dataset(target_rows=700, shape=(2, 3, 3))
    target, pair = prepared.training.target, prepared.pair
    x = images(target, np.arange(rows))
    mean, std = target.standardize.mean.numpy(), target.standardize.std.numpy()
    np.testing.assert_array_equal(x.numpy(), (pair.target.x[:rows] - mean) / std)


def test_only_training_batches_are_augmented():
    plain = dataset(shape=(2, 4, 4)).training
    moved = dataset({"augment": "dihedral"}, shape=(2, 4, 4)).training
    for part in ("train", "validation", "test"):
        rows = getattr(plain.target.split, part)
        assert torch.equal(*(images(data.target, rows) for data in (plain, moved)))
    for name in ("source", "target"):
        in_order = [getattr(data.in_order(), name) for data in (plain, moved)]
        assert all(torch.equal(a.x, b.x) for a, b in zip(*in_order, strict=True))
    codes = set()
    for (source, target), (source_moved, target_moved) in zip(
        plain.batches(0), moved.batches(0), strict=True
    ):
        assert torch.equal(source.index, source_moved.index)
        for x, x_moved in ((source.x, source_moved.x), (target.x, target_moved.x)):
            for image, image_moved in zip(x, x_moved, strict=True):
                eight = dihedral(image.expand(8, -1, -1, -1), torch.arange(8))
                (code,) = [k for k in range(8) if torch.equal(eight[k], image_moved)]
                codes.add(code)
    assert codes == set(range(8))


def test_rotated_images_are_training_images_only():
    plain = dataset(shape=(2, 16, 16)).training
    moved = dataset({"augment": "rotate-zoom"}, shape=(2, 16, 16)).training
    for part in ("validation", "test"):
        rows = getattr(plain.source.split, part)
        assert torch.equal(*(images(data.source, rows) for data in (plain, moved)))
    (source, target), (source_moved, target_moved) = (next(data.batches(0)) for data in (plain, moved))
    for x, x_moved in ((source.x, source_moved.x), (target.x, target_moved.x)):
        assert x.shape == x_moved.shape
        assert not torch.isclose(x, x_moved).flatten(1).all(dim=1).any()


@pytest.mark.parametrize("per_class", [7, 100])
def test_balanced_epochs_hold_as_many_rows_of_each_class(per_class):
    chosen = experiment({"balance": per_class, "batch_size": 10}, source_rows=90)
    pair = chosen.pair.cls(chosen.pair.config)
    pair.source_labels = (np.arange(90) < 12).astype(np.int64)
    data = prepare(pair, build.task_of(chosen), chosen.config, build.CPU).training
    seen = torch.zeros(data.source_size)
    for epoch in range(3):
        labels = torch.cat([source.y for source, _ in data.batches(epoch)])[: data.epoch_size]
        assert torch.bincount(labels).tolist() == [per_class, per_class]
        seen[torch.cat([source.index for source, _ in data.batches(epoch)])] += 1
    assert data.steps() == -(-2 * per_class // 10)
    if per_class == 100:
        assert (seen > 0).all()


def test_classes_are_balanced_where_there_are_classes(tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "a.npz", x=rng.normal(size=(40, 3)), y=rng.normal(size=40))
    files = {"source": str(tmp_path / "a.npz"), "target": str(tmp_path / "a.npz")}
    pair = {"name": "arrays", **files, "source_x": "x", "source_y": "y", "target_x": "x"}
    chosen = build.experiment(pair=pair, task="regression", train={"balance": 5, "select": "last"})
    with pytest.raises(ConfigError, match=r"train.balance needs classes; leave it out where numbers"):
        build.dataset(chosen)


# --- whose rows, and which -----------------------------------------------------------------------------


def forbid_reading(domain):
    def forbidden(plan):
        raise AssertionError(f"the {domain.name} was read")

    domain.rows.batches = forbidden


@pytest.mark.parametrize(("domain", "other", "steps"), [("source", "target", 4), ("target", "source", 5)])
def test_a_domain_that_does_not_pass_is_not_read_and_the_other_counts_the_epoch(domain, other, steps):
    data = dataset({"batch_size": 7}).training
    forbid_reading(getattr(data, other))
    batches = list(data.batches(0, (domain,)))
    assert len(batches) == data.steps((domain,)) == steps
    for source, target in batches:
        full, empty = (source, target) if domain == "source" else (target, source)
        assert full.x.shape == (7, 6)
        assert empty.x.shape == (0, 6)
        assert len(empty.index) == len(empty.domain) == 0
        assert len(source.y) == len(source.x)
    seen = torch.cat([(source if domain == "source" else target).index for source, target in batches])
    assert set(seen.tolist()) == set(range(28 if domain == "source" else 35))


def test_a_planner_says_which_rows_each_batch_holds():
    data = dataset({"batch_size": 8, "balance": 5}).training
    asked = []

    def planner(labels, steps, batch, generator):
        asked.append((labels, steps, batch, torch.rand((), generator=generator)))
        lines = torch.arange(steps)[:, None]
        return lines + torch.arange(3), lines + torch.arange(5)

    batches = list(data.batches(1, planner=planner))
    assert len(batches) == data.steps() == 2
    for step, (source, target) in enumerate(batches):
        assert source.index.tolist() == [step + k for k in range(3)]
        assert target.index.tolist() == [step + k for k in range(5)]
        assert torch.equal(source.y, data.labels[source.index])
        rows = data.target.split.train[target.index]
        assert torch.equal(target.x, images(data.target, rows))
    list(data.batches(1, planner=planner))
    list(data.batches(2, planner=planner))
    labels, steps, batch, _ = asked[0]
    assert torch.equal(labels, data.labels)
    assert (steps, batch) == (2, 8)
    assert asked[0][3] == asked[1][3] != asked[2][3]
    assert all(
        torch.equal(a.index, b.index)
        for (a, _), (b, _) in zip(data.batches(0), data.batches(0, planner=lambda *_: None), strict=True)
    )


@pytest.mark.parametrize("rows", [40, 700])
def test_training_rows_come_in_the_order_of_their_index(rows):
    """As often as they are asked for, each time read anew."""
    prepared = dataset(source_rows=rows, target_rows=rows + 20)
    data, in_order = prepared.training, prepared.training.in_order()
    for name in ("source", "target"):
        domain, first, again = getattr(data, name), *(list(getattr(in_order, name)) for _ in range(2))
        x, index = (torch.cat([getattr(batch, key) for batch in first]) for key in ("x", "index"))
        assert torch.equal(index, torch.arange(len(domain.split.train)))
        assert torch.equal(x, images(domain, domain.split.train))
        assert all(torch.equal(a.x, b.x) for a, b in zip(first, again, strict=True))
        assert all(len(batch.x) <= 256 for batch in first)
    labels = torch.cat([batch.y for batch in in_order.source])
    np.testing.assert_array_equal(labels, prepared.pair.source_labels[data.source.split.train])
    assert not any(hasattr(batch, "y") for batch in in_order.target)


def test_rows_in_order_are_read_when_they_are_asked_for():
    data = dataset().training
    forbid_reading(data.target)
    in_order = data.in_order()
    assert len(list(in_order.source)) == 1
    iterator = iter(in_order.target)
    with pytest.raises(AssertionError, match="the target was read"):
        next(iterator)


# --- several sources -----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(6,), (2, 4, 4)])
def test_each_of_several_sources_is_standardised_by_its_own_training_rows(shape):
    prepared = dataset(source_rows=120, sources=3, shape=shape)
    data, pair = prepared.training, prepared.pair
    rows = data.source.split.train
    x, numbers = images(data.source, rows), torch.from_numpy(pair.source.domain[rows])
    raw = torch.from_numpy(pair.source.x[rows])
    axes = [0, *range(2, x.ndim)]
    assert raw[numbers == 2].mean() - raw[numbers == 0].mean() > 15
    for number in range(3):
        own = x[numbers == number]
        torch.testing.assert_close(own.mean(dim=axes), torch.zeros(shape[0]), atol=1e-4, rtol=0)
        torch.testing.assert_close(own.std(dim=axes, correction=0), torch.ones(shape[0]), atol=1e-4, rtol=0)
    assert data.source.standardize.mean.shape == (3, shape[0], *(1,) * (len(shape) - 1))
    assert data.target.standardize.mean.shape == (shape[0], *(1,) * (len(shape) - 1))


def test_batches_name_the_domain_of_each_row():
    prepared = dataset({"batch_size": 16}, source_rows=120, sources=3)
    data, numbers = prepared.training, prepared.pair.source.domain
    batches = [*data.batches(0), *((source, None) for source in data.in_order().source)]
    assert len(batches) > 2
    for source, target in batches:
        np.testing.assert_array_equal(source.domain, numbers[data.source.split.train[source.index]])
        assert target is None or (target.domain == 3).all()
    assert all((target.domain == 3).all() for target in data.in_order().target)
    source, target = next(dataset().training.batches(0))
    assert (source.domain == 0).all()
    assert (target.domain == 1).all()


def test_a_source_without_training_rows_is_refused():
    chosen = build.experiment(pair={"name": TOY, "sources": 2}, split="grouped")
    pair = chosen.pair.cls(chosen.pair.config)
    unseen = build.dataset(chosen).splits.source.test[:2]
    pair.source.domain[:] = 0
    pair.source.domain[unseen] = 1
    with pytest.raises(DataError, match=r"source 'telescope 1' has no training rows with split seed 0"):
        prepare(pair, build.task_of(chosen), chosen.config, build.CPU)


# --- what cannot be ------------------------------------------------------------------------------------


def test_vectors_cannot_be_augmented():
    with pytest.raises(ConfigError, match=r"augment=dihedral needs images; the samples are feature vectors"):
        dataset({"augment": "dihedral"})


def test_training_on_one_class_is_refused(monkeypatch):
    from datk.data import dataset as data

    def first_rows(*arguments):
        splits = sampling_split(*arguments)
        splits.source.train[:] = np.arange(0, 2 * len(splits.source.train), 2) % 40 // 2 * 2
        return splits

    sampling_split = data.split_pair
    monkeypatch.setattr(data, "split_pair", first_rows)
    with pytest.raises(DataError, match=r"the source's training rows are all 'class 0' with split seed 0"):
        dataset()
