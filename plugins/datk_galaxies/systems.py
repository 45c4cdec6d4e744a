"""Pairs of disc galaxies: in an encounter, or only by chance near each other on the sky."""

from dataclasses import dataclass

import torch
from torch import Tensor

from datk_galaxies.encounters import CORE, Orbits, circular_speed, fall_together, stir
from datk_galaxies.rendering import BANDS, Bodies, Swarms

STARS, KNOTS = 2400, 24
"""Old stars and star-forming knots in each disc."""


def uniform(low: float, high: float, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator)


def rotations(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Random rotation matrices [*shape, 3, 3], from uniform unit quaternions."""
    q = torch.randn((4, *shape), generator=generator)
    w, x, y, z = q / torch.linalg.vector_norm(q, dim=0)
    rows = [
        torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)], dim=-1),
        torch.stack([2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)], dim=-1),
        torch.stack([2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)], dim=-1),
    ]
    return torch.stack(rows, dim=-2)


def exponential_radii(count: int, edge: float = 4.5) -> Tensor:
    r = torch.linspace(0, edge, 4000, dtype=torch.float64)
    inside = 1 - (1 + r) * torch.exp(-r)
    quantile = (torch.arange(count) + 0.5) / count * inside[-1]
    return r[torch.searchsorted(inside, quantile)].float()


def discs(mass, generator):
    """place, velocity [3, 2, G, P]"""
    two, g = mass.shape
    scale = mass.sqrt()[..., None]
    radius = torch.cat([exponential_radii(STARS), exponential_radii(KNOTS)]) * scale
    phase = uniform(0, 2 * torch.pi, radius.shape, generator)
    arms = torch.randint(2, 4, (two, g, 1), generator=generator)
    strength = uniform(0.0, 1.0, (two, g, 1), generator)
    pitch = uniform(0.25, 0.6, (two, g, 1), generator)
    phase = phase + strength / arms * torch.sin(arms * (phase - torch.log(radius / scale) / torch.tan(pitch)))
    lop = uniform(0, 0.2, (two, g, 1), generator)
    x, y, nil = radius * torch.cos(phase), radius * torch.sin(phase), torch.zeros_like(radius)
    speed = circular_speed(radius, mass[..., None], CORE * scale)
    tilt = rotations((two, g), generator)
    place = torch.stack([x + lop * radius, y, nil])
    velocity = torch.stack([-speed * y / radius, speed * x / radius, nil])
    turn = lambda v: torch.einsum("igab,bigp->aigp", tilt, v).contiguous()
    return turn(place), turn(velocity)


def scenes(
    merger,
    cameras,
    generator,
    mean_radius=8.0,
    flux=20000.0,
    peri=(0.5, 3.5),
    tobs=(4.0, 36.0),
    q=(0.3, 1.0),
    soft=0.9,
    soft_knots=0.08,
    thick=0.08,
    bt_range=(0.05, 0.5),
    flux_sd=0.4,
):
    g = len(merger)
    ratio = uniform(*q, (g,), generator)
    orbits = fall_together(ratio, uniform(*peri, (g,), generator), uniform(*tobs, (g,), generator))
    sep = orbits.separation
    mass = torch.stack([torch.ones_like(ratio), ratio])
    place, velocity = discs(mass, generator)
    nuclei = torch.zeros(3, 2, g)
    nuclei[:, 1, merger] = orbits.path[-1][:, merger]
    if merger.any():
        sub = Orbits(orbits.path[:, :, merger], orbits.start[:, merger], orbits.steps[:, merger])
        place[:, :, merger] = stir(place[:, :, merger], velocity[:, :, merger], ratio[merger], sub)
    thick = thick * mass.sqrt()[..., None]
    place = place + thick * torch.randn(place.shape, generator=generator)

    # light
    light = mass.clone()
    single = ~merger & (sep < 1.5)
    light[1, single] = 0
    light = light / light.sum(0)
    bt = uniform(*bt_range, (2, g), generator)
    young = uniform(0.1, 0.3, (2, g), generator)
    kw = torch.exp(torch.randn((2, g, KNOTS), generator=generator))
    kw = kw / kw.sum(-1, keepdim=True)
    slope = torch.tensor([-1.0, 0.0, 1.0])
    total = flux * torch.exp(flux_sd * torch.randn(g, generator=generator))

    def colour(mean, sd):
        c = mean + sd * torch.randn((2, g), generator=generator)
        f = torch.exp(c[None] * slope[:, None, None])
        return total * f / f.mean(0)

    disc_f = (light * (1 - bt) * (1 - young))[None] * colour(0.15, 0.1)
    knot_f = (light * (1 - bt) * young)[None] * colour(-0.35, 0.1)
    bulge_f = (light * bt)[None] * colour(0.35, 0.1)

    # scale
    dist = place[..., :STARS:4].clone()
    dist[0, 1] += (sep * ~merger)[:, None]
    med = (dist * dist).sum(0).sqrt().median(-1).values
    r50 = (light * (1 - bt) * med).sum(0) + light[1] * bt[1] * sep
    px = mean_radius * torch.exp(0.2 * torch.randn(g, generator=generator)) / r50

    view = rotations((g, cameras), generator)[:, :, :2]
    sky = torch.einsum("gcab,bigp->agcip", view, place)
    nuc = torch.einsum("gcab,big->agci", view, nuclei)
    shift = torch.randn((3, g, cameras), generator=generator)
    shift = (shift / torch.linalg.vector_norm(shift, dim=0))[:2] * sep[:, None] * ~merger[:, None]
    sky[..., 1, :] += shift[..., None]
    nuc[..., 1] += shift
    jitter = torch.randn((2, g, cameras, 1), generator=generator)
    sky = sky * px[:, None, None, None] + jitter[..., None]
    nuc = nuc * px[:, None, None] + jitter
    n = g * cameras

    def per_image(f):  # [3, 2, G, ...] -> [3, N, 2*...]
        f = f.movedim(1, 2)  # [3, G, 2, ...]
        f = f[:, :, None].expand(-1, -1, cameras, *f.shape[2:])
        return f.reshape(3, n, -1)

    stars = Swarms(sky[..., :STARS].flatten(1, 2), per_image(disc_f), soft)
    knots = Bodies(
        sky[..., STARS:].reshape(2, n, -1),
        per_image(knot_f[..., None] * kw),
        (soft_knots * px).repeat_interleave(cameras)[:, None].expand(-1, 2 * KNOTS),
    )
    mge_s = torch.tensor([0.1, 0.3, 0.8, 2.2])
    mge_w = torch.tensor([0.09, 0.23, 0.33, 0.35])
    re = 0.6 * mass.sqrt() * bt.sqrt() * px
    size = (re.T[:, None, :, None] * mge_s).expand(-1, cameras, -1, -1).reshape(n, -1)
    bulges = Bodies(
        nuc[..., None].expand(-1, -1, -1, -1, 4).reshape(2, n, -1),
        per_image(bulge_f[..., None] * mge_w),
        size,
    )
    return [stars, knots, bulges], sep


def field(n, pixels, generator, flux=20000.0, slots=3):
    place = (torch.rand((2, n, slots), generator=generator) - 0.5) * pixels
    on = torch.rand((n, slots), generator=generator) < 0.5
    f = flux * 10 ** uniform(-3, -1.3, (n, slots), generator) * on
    size = torch.where(
        torch.rand((n, slots), generator=generator) < 0.5, 0.0, uniform(0.7, 2.0, (n, slots), generator)
    )
    c = 0.1 + 0.3 * torch.randn((n, slots), generator=generator)
    col = torch.exp(c * torch.tensor([-1.0, 0.0, 1.0])[:, None, None])
    return Bodies(place, f * col, size)
