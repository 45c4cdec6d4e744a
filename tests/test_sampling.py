"""Batches: which rows a step sees, and the symmetries of the square."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from datk.sampling import dihedral, dihedral_codes, epoch_batches, steps_per_epoch, stream_batches

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


def numpy_symmetry(image, code):
    """The same symmetry in NumPy, of one image [C, H, W]."""
    if code & 1:
        image = np.flip(image, axis=2)
    if code & 2:
        image = np.flip(image, axis=1)
    return np.swapaxes(image, 1, 2) if code & 4 and image.shape[1] == image.shape[2] else image


@pytest.mark.parametrize("size", [(7, 7), (4, 4), (5, 8), (1, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8, torch.float16])
def test_dihedral_is_exact(size, dtype):
    x = torch.arange(8 * 3 * size[0] * size[1]).view(8, 3, *size).to(dtype)
    moved = dihedral(x, torch.arange(8))
    assert moved.shape == x.shape
    assert moved.dtype == dtype
    assert moved.is_contiguous()
    for code in range(8):
        np.testing.assert_array_equal(moved[code].numpy(), numpy_symmetry(x[code].numpy(), code))


def test_the_eight_codes_are_the_eight_symmetries():
    image = np.arange(9).reshape(1, 3, 3)
    turns = [np.rot90(image, k, axes=(1, 2)) for k in range(4)]
    expected = {turn.tobytes() for turn in turns} | {np.flip(turn, axis=2).tobytes() for turn in turns}
    moved = dihedral(torch.from_numpy(image).expand(8, 1, 3, 3), torch.arange(8))
    assert len(expected) == 8
    assert {image.numpy().tobytes() for image in moved} == expected


def test_an_image_that_is_not_square_has_four_symmetries():
    moved = dihedral(torch.arange(6).view(1, 1, 2, 3).expand(8, 1, 2, 3), torch.arange(8))
    assert len({image.numpy().tobytes() for image in moved}) == 4


def test_all_symmetries_occur_alike():
    codes = dihedral_codes((40, 100), 0, "source", 0)
    counts = torch.bincount(codes.flatten(), minlength=8)
    assert len(counts) == 8
    assert (counts - 500).abs().max() < 5 * 500**0.5


def test_domains_epochs_and_seeds_draw_their_own_symmetries():
    drawn = [
        dihedral_codes((2, 20), *arguments)
        for arguments in ((0, "source", 0), (0, "target", 0), (0, "source", 1), (1, "source", 0))
    ]
    assert len({tuple(codes.flatten().tolist()) for codes in drawn}) == 4
    assert torch.equal(drawn[0], dihedral_codes((2, 20), 0, "source", 0))
