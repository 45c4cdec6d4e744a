"""The default domain pair: merging galaxies and others, near and deep against distant and shallow."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field

from datk.interfaces import ComponentConfig, DomainPair, Samples
from datk_galaxies.rendering import BANDS, Survey, expose
from datk_galaxies.systems import CHUNK, field_objects, make_systems, single_thread

__all__ = ["MockMergers"]

PRISTINE = Survey(distance=1.0, seeing=(1.0, 1.1, 1.2), noise=1.0)


class MockMergersConfig(ComponentConfig):
    """Options of the synthetic galaxies."""

    images: int = Field(2000, ge=40, le=100_000)
    """Images of each domain."""

    cameras: int = Field(4, ge=1, le=64)
    """Directions from which each system is seen; its images stay in one split."""

    pixels: int = Field(75, ge=32, le=256)
    """Height and width of an image. The galaxies keep their size in pixels."""

    seed: int = Field(0, ge=0, lt=2**63)
    """Seed of the galaxies; not that of the run, so that runs with several seeds share their data."""

    target_distance: float = Field(1.3, ge=1, le=4)
    """How many times as far away the target's galaxies are."""

    target_seeing: float = Field(1.65, ge=0.5, le=10)
    """Standard deviation of the target's point spread function in pixels; the source's is 1.1."""

    target_noise: float = Field(3.0, ge=0.1, le=100)
    """Noise of the target's sky in units of the source's."""


class MockMergers(DomainPair):
    """Synthetic galaxy images, made on the spot: mergers or not, pristine (source) and noisy (target).

    SYNTHETIC: good for trying things out and for tests, not for statements about the sky. Half of the
    systems are two disc galaxies after their first passage, drawn as restricted three-body encounters, with
    tails, bridges, shells and two nuclei or one; the others are undisturbed discs, some with a companion that
    is there only by chance. All have exponential discs with spiral arms and young knots, de Vaucouleurs
    bulges and haloes in three bands, each with its own point spread function, foreground stars, sky and shot
    noise, and are seen by several cameras from random directions. The target shows the same systems in the
    same directions from farther away (smaller and fainter), through a broader point spread function and with
    more noise. Groups are systems, shared by both domains.

    Reference: the encounters as in Toomre & Toomre 1972, ApJ 178, 623; pristine against noisy images as in
    Ciprijanovic et al. 2021, "DeepMerge II", MNRAS 506, 677.
    """

    Config = MockMergersConfig
    classes = ("non-merger", "merger")
    shared_groups = True
    notes = ("mock-mergers is synthetic: its numbers say nothing about real galaxies",)

    @single_thread()
    def __init__(self, config: Any) -> None:
        generator = torch.Generator().manual_seed(config.seed)
        seeing = config.target_seeing
        noisy = Survey(config.target_distance, (0.9 * seeing, seeing, 1.1 * seeing), config.target_noise)
        count, cameras, pixels = -(-config.images // config.cameras), config.cameras, config.pixels
        merger = torch.randperm(count, generator=generator) < (count + 1) // 2
        source, target = (torch.empty(count * cameras, BANDS, pixels, pixels) for _ in range(2))
        for start in range(0, count, CHUNK):
            some = merger[start : start + CHUNK]
            galaxies = make_systems(some, generator).seen(cameras, generator)
            rows = slice(start * cameras, (start + len(some)) * cameras)
            for images, survey in ((source, PRISTINE), (target, noisy)):
                field = field_objects(len(some) * cameras, pixels, generator)
                images[rows] = expose(galaxies, field, survey, pixels, generator)
        groups = np.arange(config.images) // cameras
        self.source = Samples(source[: config.images].numpy(), groups=groups)
        self.target = Samples(target[: config.images].numpy(), groups=groups)
        self.source_labels: npt.NDArray[np.int64] = merger.numpy().astype(np.int64)[groups]
        self._answers = self.source_labels.copy()

    def answers(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Class numbers of the given target rows."""
        labels: npt.NDArray[np.int64] = self._answers[rows]
        return labels
