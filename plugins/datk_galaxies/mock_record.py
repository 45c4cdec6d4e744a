"""A miniature of DeepMerge II's published files.

Galaxies are synthetic; names, types, the order of the rows and the flaws are those of the real arrays.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from datk.interfaces import ConfigError, RecordFile
from datk_galaxies.deepmerge_files import SIMREAL_FILES, SIMSIM_FILES
from datk_galaxies.mock_images import brightness, portraits, turned_copies, uncut
from datk_galaxies.npy_files import ArrayFile
from datk_galaxies.rendering import BANDS, Survey
from datk_galaxies.row_structure import CAMERAS, SHORT_GALAXY, SHORT_ROWS
from datk_galaxies.systems import single_thread

__all__ = ["LEAST_SCALE", "write"]

PIXELS = 75

LEAST_SCALE = 0.005
"""Of two galaxies in the smallest class."""

MERGERS, OTHERS = 406, 1827
"""Galaxies of the simulated pair at scale 1."""

PER_CLASS, SOURCE_ORIGINALS, TARGET_ORIGINALS = 3000, 44, 310
"""Of the simulated-to-real pair at scale 1: images of a class, and the mergers that its are copies of."""

LEAST_ORIGINALS = 10
"""Fewer could not be split into training, validation and test."""

PLANE = -2, -1
ORIENTATIONS = (
    partial(np.flip, axis=-2),
    partial(np.flip, axis=-1),
    partial(np.rot90, axes=PLANE),
    partial(np.rot90, k=2, axes=PLANE),
)
"""Of the mergers' blocks after the first."""

PRISTINE = Survey(distance=1.0, seeing=(1.0, 1.1, 1.2), noise=0.0)
NOISY = Survey(distance=1.0, seeing=(1.5, 1.65, 1.8), noise=3.0)
NEARBY = Survey(distance=1.0, seeing=(1.0, 1.1, 1.2), noise=1.0)
"""The source of the simulated-to-real pair; its target is NOISY."""

PRISTINE_UNIT, NEARBY_UNIT = 0.009, 0.15
"""Flux per unit of light, for means like those of the real images."""

COPY_WITHIN = 7
"""Rows between a copy among the target's non-mergers and its original, at most. One in 16 is a copy."""


@single_thread()
def write(folder: Path, scale: float, seed: int) -> None:
    """Write eight .npy files, and record.json, the entry that an archive would give of them, into a folder.

    Images are float64 [N, 3, 75, 75] and labels float64 [N], mergers first.

    - Simulated pair: mergers in 5 blocks (as they are, flipped in two ways, turned by 90 and 180 degrees) of
      4 cameras for each galaxy, then non-mergers with 4 cameras each. The target shows the same in each row,
      blurred and with noise, which came before the flips and turns.
    - Simulated-to-real pair: mergers are turned and zoomed copies of a few. In the source their empty corners
      are 0, as nothing is in non-mergers; those of the target, whole numbers from 0 to 255, are cut from
      larger images and have none. Some of the target's non-mergers are there twice, one half of them with
      other values by rounding.

    Args:
        scale: number of galaxies in units of the real one.

    Raises:
        ConfigError: scale or seed out of range.
        OSError: a file cannot be written.
    """
    if not LEAST_SCALE <= scale <= 1:
        raise ConfigError(
            f"scale {scale:g} is out of range; give one from {LEAST_SCALE}, which makes two galaxies in the "
            "smallest class, to 1, the real size"
        )
    if not 0 <= seed < 2**63:
        raise ConfigError(f"seed {seed} is out of range; give one from 0 to 2^63 - 1")
    generator = torch.Generator().manual_seed(seed)
    files = _write_simsim(folder, scale, generator) + _write_simreal(folder, scale, generator)
    content = {
        "id": 0,
        "doi": "",
        "mock": True,
        "metadata": {
            "title": f"DeepMerge II in miniature, synthetic (scale {scale:g}, seed {seed})",
            "license": {"id": "cc-zero"},
        },
        "files": files,
    }
    (folder / "record.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


@contextmanager
def _files(
    folder: Path, files: Mapping[str, RecordFile], mergers: int, others: int
) -> Iterator[dict[str, ArrayFile]]:
    """The files of a pair by HDF5 dataset, those of the labels already full."""
    with ExitStack() as stack:
        opened = {}
        for key, file in files.items():
            shape = (mergers + others, *((BANDS, PIXELS, PIXELS) if key.endswith("x") else ()))
            opened[key] = stack.enter_context(ArrayFile(folder / file.name, shape))
            if key.endswith("y"):
                opened[key].add(np.repeat([1.0, 0.0], [mergers, others]))
        yield opened


# --- the simulated pair --------------------------------------------------------------------------------


def _write_simsim(folder: Path, scale: float, generator: Generator) -> list[dict[str, Any]]:
    mergers, others = round(MERGERS * scale), round(OTHERS * scale)
    base = mergers * CAMERAS
    other_rows = others * CAMERAS - (CAMERAS - SHORT_ROWS if others > SHORT_GALAXY else 0)
    surveys = PRISTINE, NOISY
    with _files(folder, SIMSIM_FILES, base * (1 + len(ORIENTATIONS)), other_rows) as opened:
        domains = opened["source/x"], opened["target/x"]
        for images in portraits(torch.ones(mergers) > 0, CAMERAS, surveys, PIXELS, generator):
            for file, x in zip(domains, images, strict=True):
                file.add(x.double() * PRISTINE_UNIT)
        for file in domains:
            for oriented in ORIENTATIONS:
                for start in range(0, base, CAMERAS):
                    file.add(oriented(file.read(start, start + CAMERAS)))
        first = 0
        for images in portraits(torch.zeros(others) > 0, CAMERAS, surveys, PIXELS, generator):
            kept = _without_missing_cameras(first, len(images[0]))
            first += len(images[0])
            for file, x in zip(domains, images, strict=True):
                file.add(x[kept].double() * PRISTINE_UNIT)
        return [file.described() for file in opened.values()]


def _without_missing_cameras(first: int, rows: int) -> Tensor:
    """Which of the non-mergers' rows there are, [rows] from number `first` on, were all galaxies complete."""
    row = first + torch.arange(rows)
    return (row // CAMERAS != SHORT_GALAXY) | (row % CAMERAS < SHORT_ROWS)


# --- the simulated-to-real pair ------------------------------------------------------------------------


def _write_simreal(folder: Path, scale: float, generator: Generator) -> list[dict[str, Any]]:
    rows = round(PER_CLASS * scale)
    with _files(folder, SIMREAL_FILES, rows, rows) as opened:
        source, target = opened["source/x"], opened["target/x"]
        few = _mergers(round(SOURCE_ORIGINALS * scale), NEARBY, PIXELS, generator)
        for images in turned_copies(few, rows, PIXELS, generator):
            source.add(images.double() * NEARBY_UNIT)
        for (images,) in portraits(torch.zeros(rows) > 0, 1, [NEARBY], PIXELS, generator):
            source.add(images.double() * NEARBY_UNIT)
        few = _mergers(round(TARGET_ORIGINALS * scale), NOISY, uncut(PIXELS), generator)
        for images in turned_copies(few, rows, PIXELS, generator):
            target.add(brightness(images).round())
        pieces = portraits(torch.zeros(rows) > 0, 1, [NOISY], PIXELS, generator)
        for images in _with_copies(pieces, generator):
            target.add(images)
        return [file.described() for file in opened.values()]


def _mergers(count: int, survey: Survey, pixels: int, generator: Generator) -> Tensor:
    """[count, 3, pixels, pixels], and not fewer than can be split."""
    merger = torch.ones(max(LEAST_ORIGINALS, count)) > 0
    return torch.cat([images for (images,) in portraits(merger, 1, [survey], pixels, generator)])


def _with_copies(pieces: Iterator[list[Tensor]], generator: Generator) -> Iterator[Tensor]:
    """The images in 8 bits; the last of a piece becomes a copy, with the same values or rounded anew."""
    for number, (images,) in enumerate(pieces):
        light = brightness(images)
        shown = light.round()
        if len(images) > COPY_WITHIN:
            original = len(images) - 2 - int(torch.randint(COPY_WITHIN, (), generator=generator))
            dither = (torch.rand(light[0].shape, generator=generator) - 0.5) * (number % 2)
            shown[-1] = (light[original] + dither).round().clamp(0, 255)
        yield shown
