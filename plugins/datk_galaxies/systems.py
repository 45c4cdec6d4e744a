"""Disc galaxies with a companion that has stirred them up, with one that is there by chance, or alone.

Both classes are made of the same discs, of the same distribution of light and size: what differs is where an
encounter has carried the stars. Lengths are in scale lengths of the primary's disc.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from datk_galaxies.draws import lognormal, rotations, uniform
from datk_galaxies.encounters import Orbits, circular_speed, fall_together, stir
from datk_galaxies.rendering import Bodies, Light, Swarms

__all__ = ["CHUNK", "Systems", "field_objects", "make_systems", "single_thread"]

CHUNK = 16
"""Systems made at a time: few enough for the processor's cache."""

STARS, KNOTS = 2400, 24
"""Of each disc: samples of its old stars, and star-forming knots."""

CHANCE_COMPANIONS = 0.2
"""Share of the undisturbed galaxies that have a companion on the sky."""

MEDIAN_FLUX, FLUX_SCATTER = 20000.0, 0.4
MEDIAN_SCALE, SCALE_SCATTER = 4.4, 0.25
"""Scale length of a primary's disc in pixels, and the scatter of its logarithm."""

BULGE_PROFILE = ((0.1, 0.09), (0.3, 0.23), (0.8, 0.33), (2.2, 0.35))
"""De Vaucouleurs' law as Gaussians: standard deviation in effective radii, share of the light. Within 8 %
from 0.1 to 4 effective radii."""


@contextmanager
def single_thread() -> Iterator[None]:
    """Chunks are too small to share out: threads gain little, and cost tenfold on busy cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@dataclass(frozen=True)
class Systems:
    """G systems in space. An axis of 2 is: primary, companion."""

    stars: Tensor
    """Place of the stars, then of the knots, relative to their galaxy's nucleus, [3, 2, G, STARS + KNOTS]."""
    offset: Tensor
    """Of the companion from the primary, [3, G]."""
    by_chance: Tensor
    """Whether the companion is far behind, and that offset only apparent, [G]."""
    disc_flux: Tensor
    """[BANDS, 2, G]."""
    knot_flux: Tensor
    """[BANDS, 2, G, KNOTS]."""
    bulge_flux: Tensor
    """[BANDS, 2, G]."""
    bulge_radius: Tensor
    """Effective radius, [2, G]."""
    halo_flux: Tensor
    """[BANDS, G]."""
    halo_radius: Tensor
    """Standard deviation, [G]."""
    scale: Tensor
    """Pixels per unit of length, [G]."""

    def seen(self, cameras: int, generator: Generator) -> list[Light]:
        """Their light in the images [G * cameras] of cameras in random directions."""
        count = len(self.scale)
        sight = rotations((count, cameras), generator)[:, :, :2]
        # What lies far behind is elsewhere in the view of every camera.
        elsewhere = rotations((count, cameras), generator)[:, :, :2]
        companion = torch.where(self.by_chance[:, None, None, None], elsewhere, sight)
        pointing = torch.randn((2, count, cameras, 1), generator=generator)
        scale = self.scale[:, None, None]
        offset = torch.einsum("gcab,bg->agc", companion, self.offset)
        nuclei = torch.stack([torch.zeros_like(offset), offset], dim=-1) * scale + pointing
        stars = torch.einsum("gcab,bigp->agcip", sight, self.stars) * scale[..., None] + nuclei[..., None]
        nuclei, stars = nuclei.flatten(1, 2), stars.flatten(1, 2)
        scale = self.scale.repeat_interleave(cameras)[:, None]
        width, share = torch.tensor(BULGE_PROFILE).T

        def per_image(x: Tensor) -> Tensor:
            """[..., 2, G, K] as [..., images, 2 * K]."""
            return x.transpose(-3, -2).flatten(-2).repeat_interleave(cameras, dim=-2)

        return [
            Swarms(stars[..., :STARS], per_image(self.disc_flux[..., None]), size=0.7),
            Bodies(
                stars[..., STARS:].flatten(2), per_image(self.knot_flux), 0.08 * scale.expand(-1, 2 * KNOTS)
            ),
            Bodies(
                nuclei.repeat_interleave(len(width), dim=2),
                per_image(self.bulge_flux[..., None] * share),
                per_image(self.bulge_radius[..., None] * width) * scale,
            ),
            Bodies(
                nuclei[..., :1],
                self.halo_flux.repeat_interleave(cameras, dim=1)[..., None],
                self.halo_radius.repeat_interleave(cameras)[:, None] * scale,
            ),
        ]


def make_systems(merger: Tensor, generator: Generator) -> Systems:
    """Systems for the labels `merger` [G]: mergers after their first passage, and undisturbed galaxies."""
    count = len(merger)
    orbits = fall_together(
        mass_ratio=uniform(0.3, 1.0, (count,), generator),
        pericentre=uniform(0.8, 2.5, (count,), generator),
        duration=uniform(3.0, 16.0, (count,), generator),
    )
    mass = torch.stack([torch.ones(count), orbits.mass_ratio])
    stars = _stars(mass, merger, orbits, generator)

    alone = ~merger & (torch.rand(count, generator=generator) > CHANCE_COMPANIONS)
    pair_light = mass.sum(dim=0)
    light = torch.where(alone & (torch.arange(2) == 1)[:, None], 0.0, mass)
    light = light / light.sum(dim=0) * lognormal(MEDIAN_FLUX, FLUX_SCATTER, (count,), generator)
    scale = lognormal(MEDIAN_SCALE, SCALE_SCATTER, (count,), generator)
    # A galaxy alone has the light of a pair, and is larger for it.
    scale = torch.where(alone, scale * pair_light**0.75, scale)

    bulge = uniform(0.1, 0.4, (2, count), generator)
    young = uniform(0.05, 0.15, (2, count), generator)
    knots = lognormal(1.0, 1.0, (2, count, KNOTS), generator)
    knots = knots / knots.sum(dim=-1, keepdim=True)
    halo = uniform(0.0, 0.3, (count,), generator)
    return Systems(
        stars=stars,
        offset=orbits.path[-1],
        by_chance=~merger,
        disc_flux=_coloured(light * (1 - bulge) * (1 - young), 0.15, 0.1, generator),
        knot_flux=_coloured(light * (1 - bulge) * young, -0.35, 0.1, generator)[..., None] * knots,
        bulge_flux=_coloured(light * bulge, 0.35, 0.1, generator),
        bulge_radius=1.2 * (mass * bulge).sqrt(),
        halo_flux=_coloured(light.sum(dim=0) * halo, 0.25, 0.1, generator),
        halo_radius=uniform(3.0, 8.0, (count,), generator),
        scale=scale,
    )


def field_objects(images: int, pixels: int, generator: Generator, most: int = 3) -> Bodies:
    """Foreground stars and small background galaxies: up to `most` in each image, half of that on average."""
    shape = images, most
    place = uniform(-pixels / 2, pixels / 2, (2, *shape), generator)
    present = torch.rand(shape, generator=generator) < 0.5
    flux = MEDIAN_FLUX * 10 ** uniform(-3.0, -1.3, shape, generator)
    extended = torch.rand(shape, generator=generator) < 0.5
    size = uniform(0.7, 2.0, shape, generator)
    return Bodies(place, _coloured(flux * present, 0.1, 0.3, generator), size * extended)


def _coloured(flux: Tensor, mean: float, scatter: float, generator: Generator) -> Tensor:
    """Fluxes [BANDS, ...] from blue to red; a slope of 0.1 is a ratio of e^0.1 between neighbouring bands."""
    slope = mean + scatter * torch.randn(flux.shape, generator=generator)
    bands = torch.exp(torch.stack([-slope, torch.zeros_like(slope), slope]))
    return flux * bands / bands.mean(dim=0)


def _stars(mass: Tensor, merger: Tensor, orbits: Orbits, generator: Generator) -> Tensor:
    """Places [3, 2, G, STARS + KNOTS] in discs of masses [2, G], after their encounter if there was one."""
    scale = mass.sqrt()[..., None]
    place, velocity = _discs(mass, generator)
    place[:, :, merger] = stir(place[:, :, merger], velocity[:, :, merger], orbits[merger])
    # Orbits are cold, for sharp tails, so that the thickness comes last.
    return place + 0.08 * scale * torch.randn(place.shape, generator=generator)


def _discs(mass: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Places and velocities [3, 2, G, STARS + KNOTS] in discs of the given masses [2, G] with spiral arms.

    The discs turn in the sense of the orbit or lie edge-on to it: only such grow long tails.
    """
    shape = *mass.shape, 1
    radius = torch.cat([_exponential_disc(STARS), _exponential_disc(KNOTS)])
    phase = uniform(0.0, 2 * torch.pi, (*mass.shape, len(radius)), generator)
    arms = torch.randint(2, 4, shape, generator=generator)
    strength = uniform(0.0, 0.6, shape, generator)
    pitch = uniform(0.25, 0.6, shape, generator)
    phase = phase + strength / arms * torch.sin(arms * (phase - radius.log() / pitch.tan()))
    lopsided = uniform(0.0, 0.1, shape, generator)

    scale = mass.sqrt()[..., None]
    radius = radius * scale
    x, y, nil = phase.cos(), phase.sin(), torch.zeros_like(phase)
    speed = circular_speed(radius, mass[..., None], scale)
    tilt = rotations(mass.shape, generator)
    tilt[..., 1:] *= torch.where(tilt[..., 2, 2] < 0, -1.0, 1.0)[..., None, None]
    place = radius * torch.stack([x + lopsided, y, nil])
    velocity = speed * torch.stack([-y, x, nil])
    place, velocity = (torch.einsum("igab,bigp->aigp", tilt, v).contiguous() for v in (place, velocity))
    return place, velocity


def _exponential_disc(count: int, edge: float = 4.5) -> Tensor:
    """Radii [count] in scale lengths that share out the light of an exponential disc evenly."""
    radius = torch.linspace(0.0, edge, 4001)
    inside = 1 - (1 + radius) * torch.exp(-radius)
    shares = (torch.arange(count) + 0.5) / count * inside[-1]
    return radius[torch.searchsorted(inside, shares)]
