"""Which rows a step sees."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from datk.data.sampling import balanced_rows, epoch_batches, steps_per_epoch, stream_batches

rows, batches = st.integers(1, 300), st.integers(1, 64)
epochs, seeds = st.integers(0, 50), st.integers(0, 2**40)


@given(rows, batches, seeds, epochs)
def test_an_epoch_covers_the_source_once(rows, batch, seed, epoch):
    batch = min(batch, rows)
    order = epoch_batches(rows, batch, seed, epoch)
    assert order.shape == (steps_per_epoch(rows, batch), batch)
    assert sorted(order.flatten()[:rows].tolist()) == list(range(rows))
    assert all(len(set(line)) == batch for line in order.tolist())


def test_epochs_and_seeds_are_ordered_differently():
    orders = [epoch_batches(100, 10, seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert len({tuple(order.flatten().tolist()) for order in orders}) == 4
    assert torch.equal(orders[0], epoch_batches(100, 10, 0, 0))


@given(rows, batches, st.integers(1, 20), seeds)
def test_the_target_is_covered_evenly(rows, batch, steps, seed):
    batch = min(batch, rows)
    seen = torch.cat([stream_batches(rows, batch, steps, seed, epoch) for epoch in range(4)])
    assert seen.shape == (4 * steps, batch)
    counts = torch.bincount(seen.flatten(), minlength=rows)
    assert counts.max() - counts.min() <= 1


def test_the_target_stream_goes_on_over_epochs():
    """Epochs of 3 steps see what one long epoch sees, so that nothing depends on their number."""
    short = torch.cat([stream_batches(17, 5, 3, 0, epoch) for epoch in range(6)])
    assert torch.equal(short, stream_batches(17, 5, 18, 0, 0))


@given(st.lists(st.integers(1, 40), min_size=2, max_size=4), st.integers(1, 60), seeds, st.integers(1, 5))
def test_classes_are_balanced_and_their_rows_drawn_alike(counts, per_class, seed, epoch_count):
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    drawn = torch.stack([balanced_rows(labels, per_class, seed, epoch) for epoch in range(epoch_count)])
    assert drawn.shape == (epoch_count, len(counts) * per_class)
    for line in drawn:
        assert torch.bincount(labels[line]).tolist() == [per_class] * len(counts)
    often = torch.bincount(drawn.flatten(), minlength=len(labels))
    for label in range(len(counts)):
        of_class = often[labels == label]
        assert of_class.max() - of_class.min() <= 1


def test_balanced_epochs_differ_and_can_be_repeated():
    labels = torch.arange(40) % 2
    first, again, other = (balanced_rows(labels, 10, 0, epoch) for epoch in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
