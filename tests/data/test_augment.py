"""Augmentation: symmetries of the square, rotation and zoom."""

import math

import numpy as np
import pytest
import torch

from datk.config.models import TrainConfig
from datk.data.augment import Dihedral, RotateZoom, augmentation, resample
from datk.data.symmetries import dihedral

KINDS = [Dihedral(), RotateZoom((0.8, 1.25))]


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
    codes = Dihedral().draw((40, 100), 0, "source", 0)
    counts = torch.bincount(codes.flatten(), minlength=8)
    assert len(counts) == 8
    assert (counts - 500).abs().max() < 5 * 500**0.5


@pytest.mark.parametrize("kind", KINDS, ids=["dihedral", "rotate-zoom"])
def test_domains_epochs_and_seeds_have_their_own_draws(kind):
    drawn = [
        kind.draw((2, 20), *arguments)
        for arguments in ((0, "source", 0), (0, "target", 0), (0, "source", 1), (1, "source", 0))
    ]
    assert len({tuple(line.flatten().tolist()) for line in drawn}) == 4
    assert torch.equal(drawn[0], kind.draw((2, 20), 0, "source", 0))


def turn(angle, mirror=1.0, zoom=1.0):
    cos, sin = math.cos(angle) / zoom, math.sin(angle) / zoom
    return torch.tensor([[[mirror * cos, -sin], [mirror * sin, cos]]])


@pytest.mark.parametrize("size", [8, 9])
@pytest.mark.parametrize("quarters", range(4))
@pytest.mark.parametrize("mirror", [1.0, -1.0])
def test_quarter_turns_move_pixels_exactly(size, quarters, mirror):
    x = torch.rand(1, 2, size, size)
    expected = torch.rot90(x, quarters, dims=(2, 3))
    moved = resample(x, turn(quarters * math.pi / 2, mirror))
    torch.testing.assert_close(moved, expected.flip(-1) if mirror < 0 else expected, atol=1e-4, rtol=0)


def blob(size, row, column, width):
    """A Gaussian at a place in pixels from the middle, [1, 1, H, W]."""
    rows, columns = (torch.arange(n) - (n - 1) / 2 for n in size)
    squares = (rows[:, None] - row) ** 2 + (columns - column) ** 2
    return torch.exp(-squares / (2 * width**2))[None, None]


@pytest.mark.parametrize("size", [(41, 41), (40, 56)])
def test_rotation_and_zoom_move_a_source_where_geometry_says(size):
    angle, zoom = 0.7, 1.2
    seen = resample(blob(size, 3.0, 6.0, 3.0), turn(angle, zoom=zoom))
    column = zoom * (math.cos(angle) * 6.0 + math.sin(angle) * 3.0)
    row = zoom * (-math.sin(angle) * 6.0 + math.cos(angle) * 3.0)
    expected = blob(size, row, column, 3.0 * zoom)
    torch.testing.assert_close(seen, expected, atol=0.02, rtol=0)
    for axis in (2, 3):
        place = torch.arange(size[axis - 2]).float()
        centres = [(x.sum(dim=5 - axis).flatten() * place).sum() / x.sum() for x in (seen, expected)]
        assert abs(centres[0] - centres[1]) < 0.02


def test_corners_hold_sky_and_no_constant():
    """Corners that are constant in rotated images alone would give away which images were rotated."""
    x = torch.randn(64, 1, 32, 32)
    kind = RotateZoom((0.9, 1.1))
    corners = kind.apply(x, kind.draw((1, 64), 0, "source", 0)[0])[:, 0, :4, :4].flatten(1)
    assert corners.std(dim=1).min() > 0.2
    assert corners.mean().abs() < 0.1


def test_zooms_and_angles_cover_their_range():
    low, high = 0.8, 1.25
    matrices = RotateZoom((low, high)).draw((50, 100), 3, "target", 2).flatten(0, 1)
    zooms = 1 / torch.linalg.det(matrices).abs().sqrt()
    assert low * 0.999 < zooms.min() < low * 1.01
    assert high * 0.99 < zooms.max() < high * 1.001
    angles = torch.atan2(-matrices[:, 0, 1], matrices[:, 1, 1])
    quarters = torch.histc(angles, bins=4, min=-math.pi, max=math.pi)
    assert (quarters - 1250).abs().max() < 5 * 1250**0.5
    assert 2300 < (torch.linalg.det(matrices) < 0).sum() < 2700


def test_stored_integers_become_floats():
    kind = RotateZoom((1.0, 1.0))
    x = torch.randint(0, 255, (3, 1, 8, 8), dtype=torch.uint8)
    assert kind.apply(x, kind.draw((1, 3), 0, "source", 0)[0]).dtype == torch.float32


def test_the_configuration_chooses():
    chosen = [augmentation(TrainConfig(augment=name)) for name in ("none", "dihedral", "rotate-zoom")]
    assert [type(one).__name__ for one in chosen] == ["NoneType", "Dihedral", "RotateZoom"]
    assert augmentation(TrainConfig(augment="rotate-zoom", zoom=(0.7, 1.3))).zoom == (0.7, 1.3)


@pytest.mark.parametrize("zoom", [(1.1, 0.9), (0.1, 1.0), (1.0, 3.0)])
def test_a_zoom_is_a_range(zoom):
    with pytest.raises(ValueError, match="zoom must be two factors"):
        TrainConfig(zoom=zoom)
