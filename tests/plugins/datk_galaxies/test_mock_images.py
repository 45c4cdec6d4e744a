"""Turned copies keep the picture, and show what lies outside of it or do not."""

import torch

from datk_galaxies.mock_images import ZOOM, brightness, portraits, turned_copies, uncut
from datk_galaxies.rendering import Survey


def copies(originals, count=40, pixels=33):
    pieces = turned_copies(originals, count, pixels, torch.Generator().manual_seed(0))
    return torch.cat(list(pieces))


def test_corners_are_empty_unless_the_original_is_large_enough():
    small, large = copies(torch.ones(1, 2, 33, 33)), copies(torch.ones(1, 2, uncut(33), uncut(33)))
    assert small.shape == large.shape == (40, 2, 33, 33)
    assert torch.allclose(large, torch.ones(()), atol=1e-5)
    assert (small[:, :, 0, 0] == 0).float().mean() > 0.5
    assert torch.allclose(small[:, :, 12:21, 12:21], torch.ones(()), atol=1e-5)


def test_a_copy_keeps_distances_but_for_the_zoom():
    spot = torch.zeros(1, 1, 101, 101)
    spot[0, 0, 40:43, 60:63] = 1.0  # its middle is 9 pixels above and 11 to the right of the image's
    pixel = torch.arange(61.0) - 30
    for image in copies(spot, pixels=61)[:, 0]:
        light = image / image.sum()
        distance = torch.hypot((light.sum(1) * pixel).sum(), (light.sum(0) * pixel).sum())
        assert ZOOM[0] - 0.02 < distance / 202**0.5 < ZOOM[1] + 0.02


def test_copies_are_dealt_evenly():
    originals = torch.arange(1.0, 4.0)[:, None, None, None].expand(3, 1, 33, 33).contiguous()
    assert copies(originals, count=7)[:, 0, 16, 16].round().tolist() == [1, 2, 3, 1, 2, 3, 1]


def test_surveys_show_the_same_galaxies_camera_by_camera():
    surveys = [Survey(1.0, (1.0, 1.0, 1.0), 0.0), Survey(1.0, (1.0, 1.0, 1.0), 0.0)]
    merger = torch.arange(18) < 9
    pieces = list(portraits(merger, 2, surveys, 32, torch.Generator().manual_seed(0)))
    assert [len(first) for first, _ in pieces] == [32, 4]
    assert all(torch.equal(first, second) for first, second in pieces)


def test_brightness_is_that_of_eight_bits():
    shown = brightness(torch.tensor([-1e6, 0.0, 3.0, 1e6]))
    assert shown.tolist()[0] == 0
    assert shown.tolist()[3] == 255
    assert 10 == shown[1] < shown[2] < 20
