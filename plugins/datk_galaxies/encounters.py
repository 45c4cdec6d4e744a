"""Encounters of two disc galaxies as restricted three-body problems.

Stars are massless: they feel the two moving centres and not one another. That alone draws out tails and
bridges (Toomre & Toomre 1972, ApJ 178, 623) and shells (Quinn 1984, ApJ 279, 596). Each centre is a Plummer
sphere.

Units: the scale length of the primary's disc, its mass, and G = 1. A star of the primary two scale lengths
out needs about 22 units of time for one revolution.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Orbits", "circular_speed", "fall_together", "stir"]

PLUMMER_RADIUS = 1.2
"""Of a galaxy, in scale lengths of its disc."""

APPROACH = 12.0
"""Time from the first step to the first passage."""

FRICTION, FRICTION_RADIUS = 0.15, 2.5
"""Rate at which overlapping galaxies lose speed, and the distance at which it has fallen by half."""


@dataclass(frozen=True)
class Orbits:
    """Motion of G secondaries about their primaries from before the first passage until they are observed."""

    path: Tensor
    """Position of the secondary seen from the primary before and after each step, [T + 1, 3, G]; z is 0."""
    start: Tensor
    """Velocity before the first step, [3, G]."""
    steps: Tensor
    """Length of each step in time, [T, G]."""
    mass_ratio: Tensor
    """Mass of the secondary, [G]."""

    def __getitem__(self, chosen: Tensor) -> "Orbits":
        """Some of the orbits."""
        return Orbits(
            self.path[..., chosen], self.start[:, chosen], self.steps[:, chosen], self.mass_ratio[chosen]
        )


def _pull(offset: Tensor, mass: Tensor, radius: Tensor) -> Tensor:
    """Acceleration per `offset` [3, ...] from the centre of a Plummer sphere, [...]."""
    x, y, z = offset
    squared = (radius * radius).addcmul(x, x).addcmul_(y, y).addcmul_(z, z)
    acceleration: Tensor = squared.rsqrt_().pow_(3).mul_(-mass)
    return acceleration


def circular_speed(radius: Tensor, mass: Tensor, scale: Tensor) -> Tensor:
    """Speed on circular orbits [...] in galaxies of the given masses and scale lengths."""
    return radius * mass.sqrt() * (radius**2 + (PLUMMER_RADIUS * scale) ** 2) ** -0.75


def fall_together(
    mass_ratio: Tensor, pericentre: Tensor, duration: Tensor, approach_steps: int = 30, steps: int = 80
) -> Orbits:
    """Orbits that are parabolic until the first passage and then decay by dynamical friction.

    mass_ratio, pericentre, and duration (from the first passage to the observation): [G].
    """
    mass = 1 + mass_ratio
    radius = PLUMMER_RADIUS * mass.sqrt()
    nil = torch.zeros_like(pericentre)
    escape_speed = (2 * mass).sqrt() * (pericentre**2 + radius**2) ** -0.25
    closest = torch.stack([pericentre, nil, nil]), torch.stack([nil, escape_speed, nil])

    def follow(step: Tensor, count: int, friction: float) -> tuple[list[Tensor], Tensor]:
        place, velocity = closest
        places = []
        for _ in range(count):
            middle = place + velocity * step / 2
            drag = friction / (1 + (middle * middle).sum(dim=0) / FRICTION_RADIUS**2)
            velocity = (velocity + middle * _pull(middle, mass, radius) * step) * torch.exp(-drag * step)
            place = middle + velocity * step / 2
            places.append(place)
        return places, velocity

    approach_step = torch.full_like(duration, APPROACH / approach_steps)
    before, start = follow(-approach_step, approach_steps, friction=0.0)
    after, _ = follow(duration / steps, steps, friction=FRICTION)
    return Orbits(
        path=torch.stack([*reversed(before), closest[0], *after]),
        start=start,
        steps=torch.cat([approach_step.expand(approach_steps, -1), (duration / steps).expand(steps, -1)]),
        mass_ratio=mass_ratio,
    )


def stir(place: Tensor, velocity: Tensor, orbits: Orbits) -> Tensor:
    """Where an encounter leaves the stars of both discs, by the leapfrog method.

    place, velocity: [3, 2, G, P] of the stars of the primary and of the secondary before the first step, each
    relative to the centre of its own galaxy. Returns places [3, 2, G, P], relative to the same centres.
    """
    masses = torch.stack([torch.ones_like(orbits.mass_ratio), orbits.mass_ratio])
    radii = PLUMMER_RADIUS * masses.sqrt()
    # Seen from the centre of mass, each galaxy is as far out as the other is heavy.
    lever = torch.stack([-masses[1], masses[0]]) / masses.sum(dim=0)
    centres = orbits.path[:, :, None] * lever
    place = place + centres[0, ..., None]
    velocity = velocity + (orbits.start[:, None] * lever)[..., None]
    for before, after, step in zip(centres[:-1], centres[1:], orbits.steps[..., None], strict=True):
        place.addcmul_(velocity, step / 2)
        for galaxy in range(2):
            offset = place - (before + after)[:, galaxy, None, :, None] / 2
            pull = _pull(offset, masses[galaxy, :, None] * step, radii[galaxy, :, None])
            velocity.addcmul_(offset, pull)
        place.addcmul_(velocity, step / 2)
    return place - centres[-1, ..., None]
