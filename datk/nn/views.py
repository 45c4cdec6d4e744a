"""Strong views: rows changed so much that a network must look at what matters to know them again.

What `strong_view` does to a row is drawn for each row from torch's default generator on the row's device,
which a run seeds before every epoch; nothing leaves the device, and shapes stay as they are. The parts are
functions of the rows and of what was drawn for each.
"""

import torch
from torch import Tensor

SHIFT, GAIN, OFFSET, NOISE, CUTOUT, DROPPED = 0.125, 0.2, 0.2, 0.3, 0.4, 0.2
"""At strength 1: largest translation and side of the cutout as parts of an image's side; deviation of the
logarithm of the gain, of the offset and, at most, of the noise, in deviations of the data; share of the
features of a vector that are dropped."""


def strong_view(x: Tensor, strength: float = 1.0, symmetries: bool = False) -> Tensor:
    """Another view of standardised rows, which a label should survive.

    Images [B, C, H, W] are translated by up to an eighth of their sides, blurred by up to a pixel, get a gain
    and an offset in each channel, noise, and a rectangle cut out to 0, the mean of the data. Vectors [B, F]
    get noise, and a fifth of their features set to 0. Each row has a draw of its own; nothing but
    `symmetries` turns an image, and nothing needs more than one pixel.

    Args:
        x: rows standardised by channel or by feature; they may want a gradient.
        strength: factor of all of it, up to 2; 0 leaves only the symmetries.
        symmetries: also flip images at random, and turn square ones by quarters, for data to which that does
            nothing (galaxies, not digits).

    Raises:
        ValueError: rows that are neither images nor vectors, or a strength outside of 0..2.
    """
    if x.ndim not in (2, 4):
        raise ValueError(f"a strong view needs images [B, C, H, W] or vectors [B, F], not {list(x.shape)}")
    if not 0 <= strength <= 2:
        raise ValueError(f"the strength of a view must be between 0 and 2, not {strength}")

    rows, *shape = x.shape

    def uniform(*of_row: int) -> Tensor:
        return torch.rand(rows, *of_row, dtype=x.dtype, device=x.device)

    def normal(*of_row: int) -> Tensor:
        return torch.randn(rows, *of_row, dtype=x.dtype, device=x.device)

    if x.ndim == 2:
        x = add_noise(x, NOISE * strength * uniform(), normal(*shape))
        return drop_features(x, uniform(*shape) < DROPPED * strength)
    channels, height, width = shape
    if symmetries:
        x = turn(x, torch.randint(8, (rows,), device=x.device))
    shifts = [((2 * uniform() - 1) * SHIFT * strength * side).round().long() for side in (height, width)]
    x = translate(x, torch.stack(shifts, dim=1))
    x = blur(x, min(strength, 1) * uniform())
    x = gain_and_offset(x, GAIN * strength * normal(channels), OFFSET * strength * normal(channels))
    x = add_noise(x, NOISE * strength * uniform(), normal(*shape))
    return cut_out(x, uniform(2), CUTOUT * strength * uniform(2))


def turn(x: Tensor, codes: Tensor) -> Tensor:
    """Flips and quarter turns of images [B, C, H, W] by codes [B] in 0..7: bit 0 mirrors columns, bit 1 rows,
    bit 2 transposes images that are square."""
    mirrored, upended, transposed = ((codes >> bit & 1).bool()[:, None, None, None] for bit in range(3))
    x = torch.where(mirrored, x.flip(-1), x)
    x = torch.where(upended, x.flip(-2), x)
    return torch.where(transposed, x.mT, x) if x.shape[-2] == x.shape[-1] else x


def translate(x: Tensor, shifts: Tensor) -> Tensor:
    """Images [B, C, H, W] moved by whole pixels, shifts [B, 2] down and right, less than their sides; what
    comes in at an edge is the mirror image of what is there."""
    channels, height, width = x.shape[1:]
    rows = _reflected(torch.arange(height, device=x.device) - shifts[:, :1], height)
    columns = _reflected(torch.arange(width, device=x.device) - shifts[:, 1:], width)
    origins = (rows[:, :, None] * width + columns[:, None, :]).flatten(1)
    return x.flatten(2).gather(2, origins[:, None].expand(-1, channels, -1)).view(x.shape)


def blur(x: Tensor, amount: Tensor) -> Tensor:
    """Images [B, C, H, W] drawn towards their mean with weights 1/4, 1/2, 1/4 along both axes, by an amount
    [B] in 0..1; at an edge the mirror image counts."""
    smooth = x
    for axis in (-2, -1):
        places = torch.arange(x.shape[axis], device=x.device)
        before, after = (smooth.index_select(axis, _reflected(places + by, len(places))) for by in (-1, 1))
        smooth = smooth / 2 + (before + after) / 4
    return torch.lerp(x, smooth, amount[:, None, None, None])


def gain_and_offset(x: Tensor, log_gain: Tensor, offset: Tensor) -> Tensor:
    """exp(log_gain) x + offset, of images [B, C, H, W] with both [B, C]."""
    return log_gain.exp()[:, :, None, None] * x + offset[:, :, None, None]


def add_noise(x: Tensor, deviation: Tensor, drawn: Tensor) -> Tensor:
    """Rows x [B, ...] with what was drawn for them, of the same shape, times a deviation [B]."""
    return x + deviation.view(-1, *[1] * (x.ndim - 1)) * drawn


def cut_out(x: Tensor, centre: Tensor, size: Tensor) -> Tensor:
    """Images [B, C, H, W] with a rectangle of height and width `size` [B, 2] about `centre` [B, 2] set to 0;
    both as parts of an image's sides, rows first. It ends at the edges (DeVries & Taylor 2017)."""
    inside = []
    for axis in range(2):
        length = x.shape[axis - 2]
        places = (torch.arange(length, device=x.device, dtype=x.dtype) + 0.5) / length
        inside.append((places - centre[:, axis : axis + 1]).abs() < size[:, axis : axis + 1] / 2)
    return x.masked_fill((inside[0][:, :, None] & inside[1][:, None, :])[:, None], 0)


def drop_features(x: Tensor, dropped: Tensor) -> Tensor:
    """Vectors [B, F] with the features that are marked in `dropped` [B, F] set to 0, the others as they
    were."""
    return x.masked_fill(dropped, 0)


def _reflected(places: Tensor, length: int) -> Tensor:
    """Places beyond either end of 0..length-1, by less than the length, mirrored at that end; of a single
    place itself."""
    last = length - 1
    return last - (last - places.abs()).abs() if last else torch.zeros_like(places)
