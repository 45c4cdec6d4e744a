"""Copies of an image that were turned by any angle, mirrored, and zoomed about the middle.

On rings around the middle a turn is a shift along the rings, and a zoom a shift across them if their radii
grow by a constant factor. Images are compared by the Fourier coefficients of their rings, so that all angles
come out of one transform. Only the disc that fits into the image is used: corners may hold anything.
"""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from datk.data.duplicates.likeness import BLOCK, JoinedRows, nearest
from datk.data.splits import RowNumbers

ANGLES, WAVES = 128, 24
"""Samples on a ring, and how many of its Fourier coefficients are used; the zeroth, its mean, is not."""

STEP = 0.8 ** (1 / 8)
"""Ratio of the radii of neighbouring rings."""

SHIFTS = range(-8, 9)
"""Of the rings: zooms from 0.8 to 1.25."""

SPACING, COMPARED = 4, 19
"""Every fourth ring is compared, from 0.8 of the radius of the disc inwards to a tenth of it."""

DESCRIBED = 8
"""Fourier coefficients whose moduli describe an image while candidates are sought."""

CANDIDATES = 12
"""For each image, over all zooms."""

LIKENESS = 1.08
"""Of copies. Unlike galaxies stay below 1; of copies with linear interpolation some percent lie below it."""


def turned_copies(both: JoinedRows, rows: RowNumbers) -> RowNumbers:
    """Pairs [P, 2] of row numbers, the smaller one first, among the given rows."""
    if len(rows) < 2:
        return np.empty((0, 2), dtype=np.int64)
    rings = _read_rings(both, rows)
    level = _level(rings)
    known = _views(rings, level, 0)
    position, asker, zoomed = _candidates(rings, level, known, rows, both)
    best = torch.full((2, len(position)), -1.0)
    for shift in SHIFTS:
        moved = _views(rings, level, shift)
        for some in torch.split(torch.where((zoomed - shift).abs() <= 1)[0], BLOCK):
            scores = _over_angles(known[position[some]], moved[asker[some]])
            best[:, some] = torch.maximum(best[:, some], scores)
    # A smooth inclined galaxy resembles many others, but as well in a mirror; a copy does so one way only.
    likeness = best.amax(dim=0) + (best[0] - best[1]).abs() / 2
    found = torch.stack([position, asker], dim=1)[likeness > LIKENESS]
    pairs: RowNumbers = rows[np.unique(np.sort(found.numpy()), axis=0)]
    return pairs


def _candidates(
    rings: Tensor, level: Tensor, known: Tensor, rows: RowNumbers, both: JoinedRows
) -> tuple[Tensor, Tensor, Tensor]:
    """Rows alike in what no turn and no mirror changes: their positions, and the shift of the second."""

    def described(views: Tensor) -> Tensor:
        return F.normalize(views[..., :DESCRIBED].abs().flatten(1))

    found = []
    for shift in SHIFTS[::2]:
        asking = described(_views(rings, level, shift))
        best, position = nearest(described(known), asking, rows, both, CANDIDATES)
        found.append(torch.stack([best.double(), position.double(), torch.full_like(best, shift).double()]))
    best, position, zoomed = torch.cat(found, dim=2)
    kept = best.topk(min(CANDIDATES, best.shape[1]), dim=1).indices
    asker = torch.arange(len(rows) - len(kept), len(rows))[:, None].expand_as(kept)
    return position.gather(1, kept).long().flatten(), asker.flatten(), zoomed.gather(1, kept).long().flatten()


def _read_rings(both: JoinedRows, rows: RowNumbers) -> Tensor:
    """Fourier coefficients of all rings of the rows, [R, C, rings, WAVES] as pairs of float16."""
    channels, height, width = both.shape
    count = (COMPARED - 1) * SPACING + len(SHIFTS)
    radius = (min(height, width) / 2 - 0.5) * STEP ** torch.arange(count)
    angle = torch.arange(ANGLES) * 2 * math.pi / ANGLES
    points = [radius[:, None] * angle.cos() * 2 / width, radius[:, None] * angle.sin() * 2 / height]
    grid = torch.stack(points, dim=-1)
    rings = torch.empty(len(rows), channels, count, WAVES, 2, dtype=torch.float16)
    for start in range(0, len(rows), 64):
        x = both.read(rows[start : start + 64])
        samples = F.grid_sample(x, grid.expand(len(x), -1, -1, -1), align_corners=False)
        waves = torch.view_as_real(torch.fft.rfft(samples, dim=-1)[..., 1 : WAVES + 1])
        largest = waves.flatten(1).abs().amax(dim=1).clamp_min(1e-30)
        rings[start : start + 64] = waves / largest[:, None, None, None, None]
    return rings


def _level(rings: Tensor) -> Tensor:
    """Root mean square of each normalised coefficient over the images, [C, COMPARED, WAVES]."""
    total = torch.zeros(rings.shape[1], COMPARED, WAVES)
    for start in range(0, len(rings), BLOCK):
        total += _ring_by_ring(_at(rings[start : start + BLOCK], 0)).abs().square().sum(dim=0)
    return (total / len(rings)).sqrt().clamp_min(1e-6)


def _at(rings: Tensor, shift: int) -> Tensor:
    """The rings that are compared at a zoom, complex."""
    start = shift - SHIFTS.start
    kept = rings[:, :, start : start + COMPARED * SPACING : SPACING]
    return torch.view_as_complex(kept.float().contiguous())


def _ring_by_ring(waves: Tensor) -> Tensor:
    return waves / waves.abs().square().sum(dim=-1, keepdim=True).sqrt().clamp_min(1e-12)


def _views(rings: Tensor, level: Tensor, shift: int) -> Tensor:
    """What is compared, [R, 2 C, COMPARED, WAVES] of length 1: bright structure, whitened faint detail."""
    weight = (STEP ** torch.arange(0, COMPARED * SPACING, SPACING))[:, None]
    views = torch.empty(len(rings), 2 * rings.shape[1], COMPARED, WAVES, dtype=torch.complex64)
    for start in range(0, len(rings), BLOCK):
        waves = _at(rings[start : start + BLOCK], shift)
        halves = [weight * waves, weight * _ring_by_ring(waves) / level]
        lengths = [half.abs().square().sum(dim=(1, 2, 3), keepdim=True).sqrt() for half in halves]
        parts = [half / length.clamp_min(1e-12) for half, length in zip(halves, lengths, strict=True)]
        views[start : start + BLOCK] = torch.cat(parts, dim=1) / math.sqrt(2)
    return views


def _over_angles(a: Tensor, b: Tensor) -> Tensor:
    """The largest product over all angles, of b as it is and mirrored: [2, P]."""
    scores = []
    for view in (b, b.conj()):
        products = F.pad((a * view.conj()).sum(dim=(1, 2)), (1, ANGLES // 2 - WAVES))
        scores.append(torch.fft.irfft(products, n=ANGLES).amax(dim=-1) * ANGLES / 2)
    return torch.stack(scores)
