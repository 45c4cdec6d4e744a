"""Encounters of two disc galaxies as restricted three-body problems (Toomre & Toomre 1972, ApJ 178, 623).

Stars are massless: they feel two moving centres and no one another. That alone draws out tails, bridges and
shells, and a thousand stars cost no more than a thousand stars. Each centre is a Plummer sphere.

Units: the scale length of the primary's disc, the primary's mass, and G = 1. A star of the primary two scale
lengths from the centre needs about 22 units of time for one revolution.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["CORE", "Orbits", "circular_speed", "fall_together", "pull", "stir"]

CORE = 1.2
"""Plummer radius of a galaxy in scale lengths of its disc."""

_APPROACH_TIME, _APPROACH_STEPS, _AFTER_STEPS = 12.0, 30, 90
_FRICTION, _FRICTION_RADIUS = 0.25, 2.5


@dataclass(frozen=True)
class Orbits:
    """Motion of G secondaries about their primaries, from before the first passage to the time of observation."""

    path: Tensor
    """Position of the secondary seen from the primary at each step, [T + 1, 3, G]; z is 0."""
    start: Tensor
    """Its velocity at the first step, [3, G]."""
    steps: Tensor
    """Length of each step in time, [T, G]."""

    @property
    def separation(self) -> Tensor:
        """Distance of the two centres when they are observed, [G]."""
        return torch.linalg.vector_norm(self.path[-1], dim=0)


def pull(offset: Tensor, mass: Tensor, core: Tensor) -> Tensor:
    """What to multiply `offset` [3, ...] from Plummer spheres [...] with for the acceleration [...]."""
    x, y, z = offset
    square = (core * core).addcmul(x, x).addcmul_(y, y).addcmul_(z, z)
    return square.rsqrt_().pow_(3).mul_(-mass)


def circular_speed(radius: Tensor, mass: Tensor, core: Tensor) -> Tensor:
    """Speed on circular orbits of the given radii in Plummer spheres, all [...]."""
    return radius * mass.sqrt() * (radius * radius + core * core) ** -0.75


def fall_together(mass_ratio: Tensor, pericentre: Tensor, duration: Tensor) -> Orbits:
    """Orbits that are parabolic until the first passage, and decay by dynamical friction after it.

    mass_ratio, pericentre, duration (from the first passage to the observation): [G].
    """
    mass = 1 + mass_ratio
    core = CORE * mass.sqrt()
    approach = torch.full_like(duration, -_APPROACH_TIME / _APPROACH_STEPS)
    after = duration / _AFTER_STEPS
    nil = torch.zeros_like(pericentre)
    speed = (2 * mass).sqrt() * (pericentre**2 + core**2) ** -0.25
    closest = torch.stack([pericentre, nil, nil]), torch.stack([nil, speed, nil])

    def follow(step: Tensor, count: int, friction: float) -> tuple[list[Tensor], Tensor]:
        place, velocity = closest
        places = [place]
        for _ in range(count):
            middle = place + velocity * step / 2
            drag = friction / (1 + (middle * middle).sum(dim=0) / _FRICTION_RADIUS**2)
            velocity = (velocity + middle * pull(middle, mass, core) * step) * torch.exp(-drag * step)
            place = middle + velocity * step / 2
            places.append(place)
        return places, velocity

    before, start = follow(approach, _APPROACH_STEPS, friction=0.0)
    later, _ = follow(after, _AFTER_STEPS, friction=_FRICTION)
    steps = torch.cat([-approach.expand(_APPROACH_STEPS, -1), after.expand(_AFTER_STEPS, -1)])
    return Orbits(torch.stack(before[:0:-1] + later), start, steps)


def stir(place: Tensor, velocity: Tensor, mass_ratio: Tensor, orbits: Orbits) -> Tensor:
    """Where the stars of two interacting discs end up, seen from the centre of the primary.

    place, velocity: [3, 2, G, P] of the stars of the primary and of the secondary, each relative to its own
    centre at the first step. Returns places [3, 2, G, P].
    """
    masses = torch.stack([torch.ones_like(mass_ratio), mass_ratio])
    cores = CORE * masses.sqrt()
    # Seen from the centre of mass, the centres lie on one line with it, at distances as the other's mass.
    share = torch.stack([-mass_ratio, torch.ones_like(mass_ratio)]) / (1 + mass_ratio)
    centres = orbits.path[:, :, None] * share
    place = place + centres[0, ..., None]
    velocity = velocity + (orbits.start[:, None] * share)[..., None]
    for k, step in enumerate(orbits.steps[..., None]):
        place.addcmul_(velocity, step / 2)
        middle = (centres[k] + centres[k + 1]) / 2
        for i in range(2):
            offset = place - middle[:, i, None, :, None]
            velocity.addcmul_(offset, pull(offset, masses[i, :, None] * step, cores[i, :, None]))
        place.addcmul_(velocity, step / 2)
    return place - centres[-1][:, :1, :, None]
