"""From light on the sky to the images of a survey: distance, point spread function, noise.

All light is made of round Gaussians, so that a point spread function only adds to their variances, and the
image of a Gaussian is the outer product of two profiles.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

__all__ = ["BANDS", "Bodies", "Light", "Survey", "Swarms", "expose"]

BANDS = 3


@dataclass(frozen=True)
class Survey:
    """How a survey sees galaxies; its unit of light is the sky noise of one pixel in a survey of noise 1."""

    distance: float
    """Of the galaxies, in units of the distance at which their places and fluxes hold."""
    seeing: tuple[float, float, float]
    """Standard deviation of the point spread function in each band, in pixels."""
    noise: float
    """Standard deviation of the sky in one pixel."""
    sky: float = 10.0
    """Brightness of the sky, which sets the shot noise: light as bright as the sky doubles the variance."""


class Light(Protocol):
    """Something that shines in each of N images."""

    def at(self, distance: float) -> "Light":
        """The same thing `distance` times as far away: smaller, fainter, of the same surface brightness."""

    def image(self, seeing: Sequence[float], pixels: int) -> Tensor:
        """Its noiseless images [N, BANDS, pixels, pixels]."""


@dataclass(frozen=True)
class Bodies:
    """A few Gaussians of any size in each image, drawn exactly."""

    place: Tensor
    """Row and column from the middle of the image in pixels, [2, N, B]."""
    flux: Tensor
    """[BANDS, N, B]."""
    size: Tensor
    """Standard deviation in pixels, [N, B]."""

    def at(self, distance: float) -> "Bodies":
        """Farther away."""
        return Bodies(self.place / distance, self.flux / distance**2, self.size / distance)

    def image(self, seeing: Sequence[float], pixels: int) -> Tensor:
        """Noiseless images."""
        bands = []
        for flux, blur in zip(self.flux, seeing, strict=True):
            spread = (self.size**2 + blur**2).sqrt()
            rows, columns = (_profiles(place, spread, pixels) for place in self.place)
            bands.append(torch.bmm((rows * flux[..., None]).transpose(1, 2), columns))
        return torch.stack(bands, dim=1)


@dataclass(frozen=True)
class Swarms:
    """D swarms of S equal stars in each image, counted into pixels and then blurred."""

    place: Tensor
    """Row and column from the middle of the image in pixels, [2, N, D, S]; stars outside are lost."""
    flux: Tensor
    """Of a whole swarm, [BANDS, N, D]."""
    size: float
    """Standard deviation of one star's light in pixels."""

    def at(self, distance: float) -> "Swarms":
        """Farther away."""
        return Swarms(self.place / distance, self.flux / distance**2, self.size / distance)

    def image(self, seeing: Sequence[float], pixels: int) -> Tensor:
        """Noiseless images."""
        _, n, d, stars = self.place.shape
        # A frame one pixel wide catches the stars outside.
        wide = pixels + 2
        row, column = (self.place + wide / 2).clamp_(0, wide - 1).int()
        swarm = torch.arange(n * d, dtype=torch.int32).view(n, d, 1)
        cell = row.add_(swarm * wide).mul_(wide).add_(column)
        counts = torch.bincount(cell.flatten(), minlength=n * d * wide**2).view(n, d, wide, wide)
        counts = counts[:, :, 1:-1, 1:-1].float()
        pixel = torch.arange(pixels) - (pixels - 1) / 2
        bands = []
        for flux, blur in zip(self.flux / stars, seeing, strict=True):
            light = (counts * flux[..., None, None]).sum(dim=1)
            spread = _profiles(pixel, torch.tensor((self.size**2 + blur**2) ** 0.5), pixels)
            bands.append(spread @ (light @ spread))
        return torch.stack(bands, dim=1)


def _profiles(place: Tensor, size: Tensor, pixels: int) -> Tensor:
    """Unit Gaussians at the pixels of one axis, [..., pixels] for places [...]."""
    pixel = torch.arange(pixels) - (pixels - 1) / 2
    inverse = (1 / size)[..., None]
    z = (pixel - place[..., None]).mul_(inverse)
    # Denormal numbers are slow; exp(-30) is nothing as well.
    return z.mul_(z).mul_(-0.5).clamp_min_(-30).exp_().mul_(inverse * (2 * torch.pi) ** -0.5)


def expose(
    galaxies: Sequence[Light], field: Light, survey: Survey, pixels: int, generator: torch.Generator
) -> Tensor:
    """Sky-subtracted images [N, BANDS, pixels, pixels] with the noise of the sky and of the light itself.

    `galaxies` are moved to the survey's distance; `field`, all else that lies in the images, stays.
    """
    image = field.image(survey.seeing, pixels)
    for light in galaxies:
        image += light.at(survey.distance).image(survey.seeing, pixels)
    noise = torch.randn(image.shape, generator=generator)
    return image + noise * (survey.noise * (1 + image / survey.sky).sqrt())
