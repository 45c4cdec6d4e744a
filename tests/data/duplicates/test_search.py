"""Copies are found, however they were flipped, turned or scaled; unlike images are not taken for copies."""

import h5py
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from datk.base.errors import DataError
from datk.data.duplicates.search import find_duplicates, group_duplicates


def galaxies(count, seed=0, size=32, noise=1.0):
    """Blobs of several sizes on a noisy sky, [N, 3, size, size] float32."""
    rng = np.random.default_rng(seed)
    row, column = np.mgrid[:size, :size] - (size - 1) / 2
    images = rng.normal(scale=noise, size=(count, 3, size, size))
    for image in images:
        for _ in range(4):
            y, x, width = *rng.normal(scale=size / 8, size=2), rng.uniform(1, size / 10)
            image += rng.uniform(5, 30) * np.exp(-((row - y) ** 2 + (column - x) ** 2) / 2 / width**2)
    return images.astype(np.float32)


def pairs(found):
    return list(zip(found.first.tolist(), found.second.tolist(), found.exact.tolist(), strict=True))


def turned(x, generator, zooms=(0.85, 1.2)):
    """Turned by any angle, zoomed, every second one mirrored, the corners filled with zeros."""
    angle = torch.rand(len(x), generator=generator) * 2 * np.pi
    zoom = zooms[0] + (zooms[1] - zooms[0]) * torch.rand(len(x), generator=generator)
    mirror = 1.0 - 2 * (torch.arange(len(x)) % 2)
    matrix = torch.zeros(len(x), 2, 3)
    matrix[:, 0, 0], matrix[:, 0, 1] = mirror * angle.cos() / zoom, -angle.sin() / zoom
    matrix[:, 1, 0], matrix[:, 1, 1] = mirror * angle.sin() / zoom, angle.cos() / zoom
    grid = F.affine_grid(matrix, list(x.shape), align_corners=False)
    return F.grid_sample(torch.from_numpy(x), grid, align_corners=False).numpy()


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("mirror", [False, True])
def test_flips_and_quarter_turns(turns, mirror):
    x = galaxies(12)
    copy = np.rot90(x[3], turns, axes=(1, 2))
    x[9] = copy[..., ::-1] if mirror else copy
    assert pairs(find_duplicates(x)) == [(3, 9, True)]


def test_images_that_are_not_square_are_flipped_only():
    x = galaxies(10)[:, :, :24]
    x[7], x[8] = x[2, :, ::-1], x[4, :, ::-1, ::-1]
    assert pairs(find_duplicates(x)) == [(2, 7, True), (4, 8, True)]


def test_noise_rounding_and_scale_make_near_duplicates():
    x = galaxies(20)
    x[10] = np.rot90(x[0], axes=(1, 2)) + np.random.default_rng(1).normal(scale=0.05, size=x[0].shape)
    x[11] = np.round(x[1] * 20)
    x[12] = x[2].astype(np.float16)[..., ::-1] * np.float16(3) + np.float16(2)
    assert pairs(find_duplicates(x)) == [(0, 10, False), (1, 11, False), (2, 12, False)]


@pytest.mark.parametrize("seed", range(3))
def test_unlike_images_are_no_duplicates(seed):
    sky = np.random.default_rng(seed).normal(size=(60, 1, 24, 24)).astype(np.float32)
    stars = sky.copy()
    stars[:, :, 11:13, 11:13] += 500
    assert len(find_duplicates(sky)) == len(find_duplicates(stars)) == 0
    assert (
        len(find_duplicates(galaxies(60, seed))) == len(find_duplicates(galaxies(60, seed, noise=0.1))) == 0
    )


def test_constant_images_are_duplicates_of_equal_ones_only():
    x = galaxies(8)
    x[1], x[2], x[5] = 0, 7, -0.0
    assert pairs(find_duplicates(x)) == [(1, 5, True)]


def test_rows_that_are_not_finite_have_no_duplicates():
    x = galaxies(8)
    x[1] = x[4] = x[0]
    x[1, 0, 0, 0] = x[4, 0, 0, 0] = np.nan
    x[5] = x[6] = np.inf
    assert len(find_duplicates(x)) == 0


def test_between_two_arrays_of_different_types():
    x = np.random.default_rng(0).integers(0, 256, (20, 3, 16, 16), dtype=np.uint8)
    other = np.random.default_rng(1).integers(0, 256, (15, 3, 16, 16)).astype(np.float64)
    other[4], x[9] = np.rot90(x[6], axes=(1, 2)), x[8]
    other[5] = x[8]
    assert pairs(find_duplicates(x, other)) == [(6, 4, True), (8, 5, True)]


def test_vectors_are_compared_for_equality():
    x = np.random.default_rng(0).normal(size=(30, 5))
    x[7], x[20] = x[3], x[3]
    x[9] = x[4][::-1]
    assert pairs(find_duplicates(x)) == [(3, 7, True), (3, 20, True)]


@pytest.mark.parametrize(
    ("offset", "unit", "dtype"),
    [(2459000.5, 0.05, np.float64), (0, 1e-46, np.float64), (0, 1e300, np.float64), (1.7e18, 1e9, np.int64)],
)
def test_what_float32_does_not_tell_apart_is_told_apart(offset, unit, dtype):
    rng = np.random.default_rng(0)
    x, other = (dtype(offset) + (unit * rng.normal(size=(50, 2))).astype(dtype) for _ in range(2))
    assert len(find_duplicates(x)) == len(find_duplicates(x, other)) == 0
    x[9], other[4] = x[3], x[7]
    assert pairs(find_duplicates(x)) == [(3, 9, True)]
    assert pairs(find_duplicates(x, other)) == [(7, 4, True)]


def test_an_hdf5_dataset_gives_the_same(tmp_path):
    x = galaxies(40)
    x[30], x[31] = x[2, :, ::-1], x[5] + np.float32(1)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        stored = file.create_dataset("x", data=x)
        assert pairs(find_duplicates(stored)) == pairs(find_duplicates(x)) == [(2, 30, True), (5, 31, False)]


def test_groups_follow_chains_and_are_numbered_by_first_rows():
    x = galaxies(9)
    x[4] = np.rot90(x[1], axes=(1, 2))
    x[8] = x[4] + np.random.default_rng(0).normal(scale=0.03, size=x[4].shape)
    groups = group_duplicates(x)
    assert groups.dtype == np.int64
    assert groups.tolist() == [0, 1, 2, 3, 1, 4, 5, 6, 1]


def test_many_equal_rows_are_one_group():
    x = np.repeat(galaxies(2), 100, axis=0)
    assert group_duplicates(x).tolist() == [0] * 100 + [1] * 100


def test_any_angle_and_zoom():
    originals = galaxies(50, size=75)
    generator = torch.Generator().manual_seed(0)
    x = np.concatenate([originals, *(turned(originals, generator) for _ in range(2))])
    objects = np.arange(150) % 50
    groups = group_duplicates(x, rotations="any")
    together = groups[:, None] == groups
    same = objects[:, None] == objects
    assert (together & same).sum() / same.sum() > 0.95
    assert not (together & ~same).any()


def test_any_between_arrays():
    originals = galaxies(20, size=75)
    copies = turned(originals[:5], torch.Generator().manual_seed(1))
    found = find_duplicates(
        originals, np.concatenate([galaxies(20, seed=5, size=75), copies]), rotations="any"
    )
    assert len(found) >= 4
    assert (found.second - found.first == 20).all()


def test_known_duplicates_of_first_and_nvss(real_data):
    with np.load(real_data / "radio_frdeep" / "frdeep.npz", allow_pickle=False) as file:
        first, nvss = file["x_first"][:, None], file["x_nvss"][:, None]
    assert pairs(find_duplicates(first)) == [(479, 499, True)]
    assert pairs(find_duplicates(nvss)) == [(165, 459, True)]
    assert len(find_duplicates(first, nvss)) == 0


@pytest.mark.parametrize(
    ("shape", "other", "message"),
    [((5, 3, 4), None, "not .5, 3, 4."), ((5, 1, 4, 4), (5, 2, 4, 4), "cannot be alike")],
)
def test_shapes_that_cannot_be_compared(shape, other, message):
    with pytest.raises(DataError, match=message):
        find_duplicates(np.zeros(shape), None if other is None else np.zeros(other))
