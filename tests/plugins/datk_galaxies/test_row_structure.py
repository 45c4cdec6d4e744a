"""The order of rows tells the galaxies, and is believed only where the arrays bear it out."""

import numpy as np
import pytest

from datk_galaxies.deepmerge_record import SIMSIM
from datk_galaxies.row_structure import fault_in_order, galaxies_of_rows, rows_correspond

MERGERS, IMAGES = 160, 32
"""Rows of mergers, and of each of their blocks."""


@pytest.fixture(scope="module")
def arrays(published):
    """(source x, target x, y), as they are once converted."""
    source, target = (published(SIMSIM, f"{domain}/x").astype(np.float32) for domain in ("source", "target"))
    return source, target, published(SIMSIM, "source/y").astype(np.int64)


def test_the_published_order_is_confirmed_and_tells_the_galaxies(arrays, galaxies):
    source, target, y = arrays
    assert fault_in_order(source, y) is None
    assert fault_in_order(target, y) is None
    assert np.array_equal(galaxies_of_rows(MERGERS, len(y) - MERGERS), galaxies)


def test_galaxies_are_those_of_the_published_catalogue(real_data):
    path = real_data / "illustris_sample" / "deepmerge_labels_15426.npz"
    if not path.is_file():
        pytest.skip(f"no {path}")
    with np.load(path, allow_pickle=False) as catalogue:
        ids, y = catalogue["subhalo_id"], catalogue["y"][:, 0].astype(int)
    mergers = int(y.sum())
    found = galaxies_of_rows(mergers, len(y) - mergers)
    assert np.array_equal(y, np.arange(len(y)) < mergers)
    assert len(np.unique(found)) == 2233
    pairs = np.unique(np.stack([found, ids]), axis=1)
    assert pairs.shape[1] == 2233
    assert len(np.unique(pairs[1])) == 2233


def test_any_turn_or_flip_of_whole_blocks_is_recognised(arrays):
    source, _, y = arrays
    x = source.copy()
    x[4 * IMAGES : MERGERS] = np.rot90(x[:IMAGES], 3, axes=(2, 3))
    assert fault_in_order(x, y) is None


def test_one_pixel_in_a_copy_is_noticed(arrays):
    source, _, y = arrays
    x = source.copy()
    x[3 * IMAGES + 17, 1, 40, 40] += 1e-6
    assert "flipped or turned" in fault_in_order(x, y)


def test_a_copy_that_is_turned_otherwise_than_its_block_is_noticed(arrays):
    source, _, y = arrays
    x = source.copy()
    x[2 * IMAGES + 5] = x[2 * IMAGES + 5, :, ::-1]
    assert "all in one way" in fault_in_order(x, y)


@pytest.mark.parametrize("rows", [slice(0, MERGERS), slice(0, IMAGES)])
def test_shuffled_mergers_are_noticed(arrays, rows):
    source, _, y = arrays
    x = source.copy()
    x[rows] = np.random.default_rng(0).permutation(x[rows])
    assert "flipped or turned" in fault_in_order(x, y)


def test_shuffled_rows_whose_blocks_are_in_order_are_noticed_by_their_light(arrays):
    source, _, y = arrays
    rng = np.random.default_rng(0)
    blocks, others = rng.permutation(IMAGES), rng.permutation(np.arange(MERGERS, len(y)))
    order = np.concatenate([*(block * IMAGES + blocks for block in range(5)), others])
    assert "light" in fault_in_order(source[order], y)


def test_labels_out_of_order_are_noticed(arrays):
    source, _, y = arrays
    assert "mergers first" in fault_in_order(source, y[::-1])
    swapped = y.copy()
    swapped[[159, 160]] = swapped[[160, 159]]
    assert "mergers first" in fault_in_order(source, swapped)


@pytest.mark.parametrize(("mergers", "others"), [(0, 8), (30, 8), (20, 7), (20, 10), (20, 9)])
def test_counts_that_are_not_whole_galaxies_are_noticed(mergers, others):
    x = np.zeros((mergers + others, 1, 4, 4), dtype=np.float32)
    assert "4 cameras" in fault_in_order(x, np.repeat([1, 0], [mergers, others]))


def test_rows_of_the_two_domains_correspond(arrays):
    source, target, _ = arrays
    assert rows_correspond(source, target)


def test_rows_do_not_correspond_when_one_domain_is_shifted_or_shuffled(arrays):
    source, target, _ = arrays
    assert not rows_correspond(source, np.roll(target, 1, axis=0))
    assert not rows_correspond(source, np.random.default_rng(0).permutation(target))
    assert not rows_correspond(source, target[:-1])
