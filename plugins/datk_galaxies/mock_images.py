"""What a miniature of DeepMerge II is made of: galaxies in two surveys at once, turned copies, pictures."""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from datk_galaxies.draws import uniform
from datk_galaxies.rendering import Survey, expose
from datk_galaxies.systems import CHUNK, field_objects, make_systems

__all__ = ["brightness", "portraits", "turned_copies", "uncut"]

ZOOM = 0.85, 1.15
"""Of the turned copies. The published range is not known."""

PIECE = 64
"""Copies made at a time."""


def portraits(
    merger: Tensor, cameras: int, surveys: Sequence[Survey], pixels: int, generator: Generator
) -> Iterator[list[Tensor]]:
    """Galaxies for the labels `merger` [G], some at a time: the same [n * cameras, 3, pixels, pixels] in each
    survey, the cameras of one galaxy in a row."""
    for start in range(0, len(merger), CHUNK):
        some = merger[start : start + CHUNK]
        galaxies = make_systems(some, generator).seen(cameras, generator)
        field = field_objects(len(some) * cameras, pixels, generator)
        yield [expose(galaxies, field, survey, pixels, generator) for survey in surveys]


def turned_copies(originals: Tensor, copies: int, pixels: int, generator: Generator) -> Iterator[Tensor]:
    """Copies [n, C, pixels, pixels] of [G, C, P, P], some at a time: turned by any angle and zoomed. What
    lies outside of the original is 0; nothing does if P is at least `uncut(pixels)`."""
    share = pixels / originals.shape[-1]
    for start in range(0, copies, PIECE):
        number = torch.arange(start, min(start + PIECE, copies))
        angle = uniform(0.0, 2 * math.pi, (len(number),), generator)
        zoom = uniform(*ZOOM, (len(number),), generator)
        cosine, sine = angle.cos() * share / zoom, angle.sin() * share / zoom
        nil = torch.zeros_like(angle)
        turn = torch.stack([cosine, -sine, nil, sine, cosine, nil], dim=1).view(-1, 2, 3)
        grid = F.affine_grid(turn, [len(number), originals.shape[1], pixels, pixels], align_corners=False)
        yield F.grid_sample(originals[number % len(originals)], grid, align_corners=False)


def uncut(pixels: int) -> int:
    """Height and width of an original from which every copy can be cut without corners that show nothing."""
    return math.ceil(pixels * math.sqrt(2) / ZOOM[0]) + 2


def brightness(images: Tensor) -> Tensor:
    """Light as it is shown in pictures, with a logarithmic stretch: from 0 to 255, not rounded."""
    return (10 + 40 * torch.asinh(images / 20)).clamp(0, 255)
