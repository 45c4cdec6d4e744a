"""Which galaxy each row of DeepMerge II's simulated pair shows, and whether the arrays bear it out.

The record has no numbers of galaxies. Its rows seem to be in the order of those of DeepMerge (Ciprijanovic
et al. 2020), whose galaxies are published: first the mergers, in five blocks of the same images, the first as
they are and the others flipped or turned; then the non-mergers. The four cameras of a galaxy follow one
another, but one of the non-mergers has two.

Flips and turns can be verified to the last bit. That four rows show one galaxy cannot: from another direction
no pixel is the same. What can be seen is that their light is alike, which it is not in a random order.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from datk.interfaces import Array

__all__ = ["CAMERAS", "SHORT_GALAXY", "SHORT_ROWS", "fault_in_order", "galaxies_of_rows", "rows_correspond"]

RowNumbers = npt.NDArray[np.int64]

CAMERAS, BLOCKS = 4, 5

SHORT_GALAXY, SHORT_ROWS = 30, 2
"""The non-merger, counted from 0, that fewer cameras saw, and how many rows it has."""

PIECE = 128
"""Rows read at a time."""

LIKENESS = 0.3
"""Least correlation of the light of two rows of one galaxy; without any order it is 0."""

RECOGNISED = 0.5
"""Least share of rows whose partner is the most similar of those within a piece; without any order it is
below 0.01 for whole pieces."""


def galaxies_of_rows(mergers: int, others: int) -> RowNumbers:
    """Galaxy of each row, [mergers + others] from 0, of so many rows of each class in the published order."""
    images = mergers // BLOCKS
    merging = np.arange(mergers) % images // CAMERAS
    rows = np.arange(others)
    if others % CAMERAS:
        rows[SHORT_GALAXY * CAMERAS + SHORT_ROWS :] += CAMERAS - SHORT_ROWS
    galaxies: RowNumbers = np.concatenate([merging, images // CAMERAS + rows // CAMERAS])
    return galaxies


def fault_in_order(x: Array, y: npt.NDArray[np.int64]) -> str | None:
    """Why the rows are not in the published order; None if all that the arrays can tell agrees with it.

    Checks the order of the labels, that blocks 1 to 4 are block 0 flipped or turned, bit for bit and each in
    one way, and that the light of neighbouring cameras is alike. Reads x once, in pieces.

    Args:
        x: [N, C, H, W].
        y: [N] 1 for mergers.
    """
    mergers = int(np.count_nonzero(y == 1))
    others = len(y) - mergers
    if not np.array_equal(y, np.repeat([1, 0], [mergers, others])):
        return "the labels are not those of mergers first and non-mergers then"
    short = others % CAMERAS == SHORT_ROWS and others > SHORT_GALAXY * CAMERAS
    if mergers == 0 or mergers % (BLOCKS * CAMERAS) or not (others % CAMERAS == 0 or short):
        return f"{mergers:,} mergers and {others:,} non-mergers are not {CAMERAS} cameras of each galaxy"
    images = mergers // BLOCKS
    light = np.empty(len(y))
    views = [set(range(8)) for _ in range(BLOCKS)]
    for start, piece in _pieces(x, 0, images):
        light[start : start + len(piece)] = _light(piece)
        for block in range(1, BLOCKS):
            first = start + block * images
            copies = x[first : first + len(piece)]
            views[block] = {view for view in views[block] if np.array_equal(_seen(piece, view), copies)}
            if not views[block]:
                return (
                    f"rows from {first:,} on are not rows from {start:,} on, flipped or turned all in one way"
                )
    for start, piece in _pieces(x, mergers, len(y)):
        light[start : start + len(piece)] = _light(piece)
    seen_once = np.r_[0:images, mergers : len(y)]
    alike = _likeness(light[seen_once], galaxies_of_rows(mergers, others)[seen_once])
    if alike < LIKENESS:
        return f"neighbouring rows do not show one galaxy each: their light correlates by {alike:.2f} only"
    return None


def rows_correspond(source: Array, target: Array) -> bool:
    """Whether each row of the target shows the same picture as that of the source, but for noise.

    For at least half of the target's rows, in each piece of 128, no other row of the source correlates more.
    """
    if source.shape != target.shape:
        return False
    for start, piece in _pieces(source, 0, source.shape[0]):
        products = _normalised(piece) @ _normalised(target[start : start + len(piece)]).T
        own = products.argmax(axis=0) == np.arange(len(piece))
        if own.mean() < RECOGNISED:
            return False
    return True


def _pieces(x: Array, start: int, stop: int) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
    for first in range(start, stop, PIECE):
        yield first, x[first : min(first + PIECE, stop)]


def _light(piece: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    total: npt.NDArray[np.float64] = piece.sum(axis=(1, 2, 3), dtype=np.float64)
    return total


def _seen(x: npt.NDArray[np.float32], view: int) -> npt.NDArray[np.float32]:
    """Images turned by `view` quarter turns, after a flip from 4 on."""
    return np.rot90(np.flip(x, axis=-1) if view >= 4 else x, view % 4, axes=(-2, -1))


def _likeness(light: npt.NDArray[np.float64], galaxies: RowNumbers) -> float:
    """Correlation of the ranks of two rows of one galaxy, the share of variance that is between galaxies."""
    ranks = light.argsort().argsort()
    _, inverse, counts = np.unique(galaxies, return_inverse=True, return_counts=True)
    means = np.bincount(inverse, weights=ranks) / counts
    within = ((ranks - means[inverse]) ** 2).sum() / (len(ranks) - len(counts))
    return float(1 - within / ranks.var(ddof=1))


def _normalised(piece: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    flat = piece.reshape(len(piece), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    normalised: npt.NDArray[np.float32] = flat / np.maximum(
        np.linalg.norm(flat, axis=1, keepdims=True), 1e-20
    )
    return normalised
