"""Encounters obey the mechanics they are made of."""

import torch

from datk_galaxies.encounters import PLUMMER_RADIUS, circular_speed, fall_together, stir


def orbits(mass_ratio=0.5, pericentre=1.5, duration=8.0, **steps):
    return fall_together(*(torch.tensor([value]) for value in (mass_ratio, pericentre, duration)), **steps)


def test_the_first_passage_is_at_the_pericentre():
    path = orbits().path
    distance = torch.linalg.vector_norm(path, dim=1).squeeze(1)
    assert torch.isclose(distance[30], torch.tensor(1.5), atol=1e-5)
    assert (distance[:30] >= 1.5 - 1e-3).all()


def test_the_approach_is_parabolic():
    """Energy of the relative orbit in the softened potential is zero before friction acts."""
    found = orbits(approach_steps=400)
    mass, radius = 1.5, PLUMMER_RADIUS * 1.5**0.5
    place, speed = found.path[0, :, 0], found.start[:, 0]
    energy = (speed @ speed) / 2 - mass / (place @ place + radius**2).sqrt()
    assert abs(energy) < 1e-3


def test_friction_brings_the_galaxies_together():
    early, late = orbits(duration=6.0), orbits(duration=60.0)
    assert torch.linalg.vector_norm(late.path[-1]) < torch.linalg.vector_norm(early.path[-1])


def test_a_lone_star_stays_on_its_circle():
    """Far from a companion of no mass a star keeps its distance from the centre of its galaxy."""
    found = orbits(mass_ratio=1e-6, pericentre=60.0, duration=20.0, steps=400)
    radius = torch.tensor([1.0, 2.0, 4.0])
    speed = circular_speed(radius, torch.tensor(1.0), torch.tensor(1.0))
    place, velocity = torch.zeros(3, 2, 1, 3), torch.zeros(3, 2, 1, 3)
    place[0, 0, 0], velocity[1, 0, 0] = radius, speed
    after = torch.linalg.vector_norm(stir(place, velocity, found)[:, 0, 0], dim=0)
    assert torch.allclose(after, radius, rtol=0.02)


def test_an_encounter_carries_stars_outwards():
    angle = torch.linspace(0, 2 * torch.pi, 200)
    radius = torch.full((200,), 3.0)
    place, velocity = torch.zeros(3, 2, 1, 200), torch.zeros(3, 2, 1, 200)
    place[0, 0, 0], place[1, 0, 0] = radius * angle.cos(), radius * angle.sin()
    speed = circular_speed(radius, torch.tensor(1.0), torch.tensor(1.0))
    velocity[0, 0, 0], velocity[1, 0, 0] = -speed * angle.sin(), speed * angle.cos()
    after = stir(place, velocity, orbits(mass_ratio=1.0, pericentre=1.5, duration=10.0))[:, 0, 0]
    assert torch.linalg.vector_norm(after, dim=0).max() > 6
