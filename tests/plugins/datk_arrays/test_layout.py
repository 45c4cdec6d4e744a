import numpy as np
import pytest

from datk.base.errors import DataError
from datk.data.readers.arrays import StoredArray
from datk_arrays.layout import ChannelsFirst, channels_first, find_layout


@pytest.mark.parametrize(
    ("shape", "found"),
    [
        ((9, 800), "features"),
        ((9, 3), "features"),
        ((9, 28, 28), "nchw"),
        ((9, 3, 75, 75), "nchw"),
        ((9, 75, 75, 3), "nhwc"),
        ((9, 1, 8, 8), "nchw"),
        ((9, 8, 8, 1), "nhwc"),
        ((9, 5, 64, 32), "nchw"),
        ((9, 64, 32, 5), "nhwc"),
        ((9, 16, 17, 17), "nchw"),
        ((9, 12, 14, 3), "nhwc"),
    ],
)
def test_auto_finds_the_channels(shape, found):
    assert find_layout(shape, "auto", "x") == found


@pytest.mark.parametrize(
    "shape", [(9, 4, 4, 4), (9, 3, 64, 3), (9, 64, 64, 64), (9, 17, 64, 64), (9, 1, 1, 1)]
)
def test_auto_refuses_to_guess(shape):
    with pytest.raises(DataError, match=r"x has shape .*set pair.layout to nchw or nhwc"):
        find_layout(shape, "auto", "x")
    assert find_layout(shape, "nhwc", "x") == "nhwc"
    assert find_layout(shape, "nchw", "x") == "nchw"


@pytest.mark.parametrize(
    ("shape", "layout"),
    [
        ((), "auto"),
        ((9,), "auto"),
        ((9, 1, 2, 3, 4), "nchw"),
        ((9, 4), "nchw"),
        ((9, 4, 4), "features"),
        ((9, 4, 4, 3), "features"),
    ],
)
def test_axes_that_do_not_fit(shape, layout):
    with pytest.raises(DataError, match="x has shape"):
        find_layout(shape, layout, "x")


def test_each_pixel_goes_to_its_place():
    x = np.arange(2 * 4 * 5 * 3).reshape(2, 4, 5, 3)
    moved = channels_first(x, "nhwc")
    assert moved.shape == (2, 3, 4, 5)
    for n, h, w, c in np.ndindex(x.shape):
        assert moved[n, c, h, w] == x[n, h, w, c]
    np.testing.assert_array_equal(channels_first(x, "nchw"), x)
    np.testing.assert_array_equal(channels_first(x[..., 0], "nhwc")[:, 0], x[..., 0])
    np.testing.assert_array_equal(channels_first(x[:, 0, 0], "features"), x[:, 0, 0])


@pytest.mark.parametrize(
    ("shape", "layout"),
    [
        ((6, 4, 5, 3), "nhwc"),
        ((6, 3, 4, 5), "nchw"),
        ((6, 4, 5), "nchw"),
        ((6, 4, 5), "nhwc"),
        ((6, 7), "features"),
    ],
)
def test_rows_on_disk_look_like_the_whole(shape, layout):
    x = np.random.default_rng(0).normal(size=shape)
    lazy = ChannelsFirst(StoredArray(x, "x"), layout)
    whole = channels_first(x, layout)
    assert lazy.shape == whole.shape
    assert lazy.dtype == x.dtype
    for rows in (slice(1, 4), np.array([0, 2, 3])):
        np.testing.assert_array_equal(lazy[rows], whole[rows])


@pytest.mark.parametrize(
    ("size", "crop", "kept"), [(6, 4, slice(1, 5)), (7, 4, slice(1, 5)), (5, 5, slice(0, 5))]
)
def test_a_crop_keeps_the_middle(size, crop, kept):
    x = np.arange(3 * size * size * 2).reshape(3, size, size, 2)
    expected = channels_first(x, "nhwc")[:, :, kept, kept]
    np.testing.assert_array_equal(channels_first(x, "nhwc", crop), expected)
    lazy = ChannelsFirst(StoredArray(x, "x"), "nhwc", crop)
    assert lazy.shape == expected.shape
    np.testing.assert_array_equal(lazy[np.array([0, 2])], expected[[0, 2]])
