"""What stands out among values: markers, extremes, lost digits; and what does not."""

import numpy as np
import pytest

from datk.data.extremes import KEPT, Extremes, joined, lost_digits, odd_values


def extremes_of(x, pieces=1):
    found = Extremes(x.shape[1], x.dtype)
    for part in np.array_split(x, pieces):
        found.add(np.fmin.reduce(part, axis=2), np.fmax.reduce(part, axis=2))
    found.look_inside(x)
    return found


def told(x, mean=None, std=None):
    """Values that stand out in rows [N, C, P], and whether alone, by the constants of all of them."""
    x = np.asarray(x)
    axes = (0, 2)
    mean = x.mean(axis=axes, dtype=np.float64) if mean is None else mean
    std = np.maximum(x.std(axis=axes, dtype=np.float64), 1e-300) if std is None else std
    nowhere = np.full(x.shape[1], np.inf)
    return odd_values("source", extremes_of(x), mean, std, -nowhere, nowhere)


def noise(rows=100, channels=1, pixels=9, dtype=np.float32):
    return (100 * np.random.default_rng(0).normal(size=(rows, channels, pixels))).astype(dtype)


@pytest.mark.parametrize("pieces", [1, 7, 50])
@pytest.mark.parametrize("pixels", [1, 4])
def test_the_outermost_values_and_their_rows_are_kept(pieces, pixels):
    x = np.random.default_rng(0).integers(0, 30, (50, 3, pixels)).astype(np.int16)
    found = extremes_of(x, pieces)
    low, high = x.min(axis=2), x.max(axis=2)
    for channel in range(3):
        for kept, rows, ends in (
            (found.low, found.low_rows, low[:, channel]),
            (-found.high, found.high_rows, high[:, channel]),
        ):
            values, counts = np.unique(ends, return_counts=True)
            order = slice(None) if kept is found.low else slice(None, None, -1)
            expected = values[order][:KEPT]
            np.testing.assert_array_equal(kept[: len(expected), channel], expected)
            np.testing.assert_array_equal(rows[: len(expected), channel], counts[order][:KEPT])
    halves = joined([extremes_of(x[:20]), extremes_of(x[20:])])
    assert halves.rows == 50
    np.testing.assert_array_equal(halves.low, found.low)
    np.testing.assert_array_equal(halves.high_rows, found.high_rows)


@pytest.mark.parametrize(
    ("value", "dtype", "shown"),
    [
        (-32768, np.int16, "-32768"),
        (65535, np.uint16, "65535"),
        (-999, np.float64, "-999"),
        (-9999.5, np.float32, "-9999.5"),
        (1e30, np.float32, "1e+30"),
        (9.96921e36, np.float32, "9.96921e+36"),
        (2**31 - 1, np.int32, "2147483647"),
    ],
)
@pytest.mark.parametrize("rows", [[3, 50], range(0, 100, 2), range(100)])
def test_markers(value, dtype, shown, rows):
    x = noise(dtype=np.float64).clip(-300, 300) + 300
    x = (x if np.dtype(dtype).kind == "f" else np.rint(x)).astype(dtype)
    assert told(x) == []
    x[list(rows), 0, 4] = value
    (odd,) = told(x)
    assert (odd.shown, odd.alone, odd.rows, odd.total, odd.channels) == (shown, True, len(rows), 100, (0,))
    assert f"source: the value {shown} looks like a marker" in odd.message()
    assert f"--set data.missing={shown} " in odd.message()


def test_a_marker_of_each_end_and_of_several_channels():
    x = noise(channels=5)
    x[:20, [0, 1, 3, 4], 0] = -999.0
    x[10:40, 4, 2] = 1e20
    odd = told(x)
    shown = {(each.shown, each.channels) for each in odd}
    assert shown == {("-999", (0, 1, 3, 4)), ("1e+20", (4,))}
    assert all(each.alone for each in odd)


def test_one_row_is_enough_where_its_value_leaves_nothing_of_the_others():
    x = noise(rows=12, pixels=1)
    x[5, 0, 0] = 5e7
    (odd,) = told(x)
    assert (odd.alone, odd.rows) == (True, 1)
    assert "the value 5e+07 stands alone" in odd.message()


def test_extremes_beyond_50_deviations():
    x = noise(rows=200, channels=2, pixels=100)
    x[7, 1, :3] = 9000, 20000, 30000
    (odd,) = told(x)
    assert (odd.alone, odd.channels, odd.rows) == (False, (1,), 1)
    assert "standardised values reach" in odd.message()
    assert "in channel 1 (30000 in 1 of 200 rows)" in odd.message()
    assert "--set data.clip=[0.1,99.9]" in odd.message()
    x[9, 0, :2] = 9000, 20000
    (odd,) = told(x)
    assert odd.channels == (0, 1)
    assert "in channels 0, 1 (20000 in 1 of 200 rows)" in odd.message()


@pytest.mark.parametrize(
    "x",
    [
        noise(dtype=np.float64),
        noise().clip(-50, 50),  # saturated
        np.abs(noise()).clip(0, None).round(-1),
        np.random.default_rng(0).integers(0, 256, (50, 3, 16)).astype(np.uint8),
        np.random.default_rng(0).integers(0, 2, (50, 3, 1)).astype(np.float32),  # indicators
        np.random.default_rng(0).integers(0, 4, (50, 3, 1)),  # ranks
        np.random.default_rng(0).lognormal(0, 1, (300, 2, 1)),
        np.random.default_rng(0).poisson(0.5, (300, 2, 1)),
        np.maximum(noise(), 0),
        np.full((20, 2, 4), 7.0),
        np.zeros((20, 1, 1), dtype=bool),
    ],
)
def test_sound_values_do_not_stand_out(x):
    assert told(x) == []


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (
            (2459000.5 + 0.05 * noise(dtype=np.float64) / 100).astype(np.float32),
            "about 2.459e+06 differ by a few",
        ),
        (
            (1e9 + noise(dtype=np.float64) / 100).astype(np.float32),
            "about 1.000e+09 differ by a few roundings",
        ),
        ((1000 + noise(dtype=np.float64) / 100).astype(np.float16), "of float16 at most"),
        (
            (1e-45 * noise(dtype=np.float64)).astype(np.float32),
            "so small that float32 holds few of their digits",
        ),
        (1e-320 * noise(dtype=np.float64), "so small that float64"),
    ],
)
def test_lost_digits(x, words):
    wide = x.astype(np.float64)
    constants = wide.mean(axis=(0, 2)), wide.std(axis=(0, 2))
    (note,) = lost_digits("target", extremes_of(x), *constants)
    assert note.startswith("target: channel 0: values ")
    assert words in note


@pytest.mark.parametrize(
    "x", [noise(), noise(dtype=np.float16), noise() + 1e4, np.zeros((9, 1, 1)), noise(dtype=np.int16)]
)
def test_digits_that_are_there(x):
    wide = x.astype(np.float64)
    constants = wide.mean(axis=(0, 2)), wide.std(axis=(0, 2))
    assert lost_digits("target", extremes_of(x), *constants) == []
