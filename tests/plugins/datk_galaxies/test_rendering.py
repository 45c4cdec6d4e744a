"""Rendering keeps light, and a survey's noise is what it says."""

import pytest
import torch

from datk_galaxies.rendering import BANDS, Bodies, Survey, Swarms, expose

SEEING = (1.0, 1.2, 1.5)


def body(size=2.0, flux=100.0):
    return Bodies(torch.zeros(2, 1, 1), torch.full((BANDS, 1, 1), flux), torch.full((1, 1), size))


def swarm(flux=100.0):
    place = torch.randn(2, 1, 1, 500, generator=torch.Generator().manual_seed(0))
    return Swarms(place, torch.full((BANDS, 1, 1), flux), size=0.7)


@pytest.mark.parametrize("light", [body(), swarm()])
def test_light_is_kept(light):
    image = light.image(SEEING, 41)
    assert image.shape == (1, BANDS, 41, 41)
    assert torch.allclose(image.sum(dim=(2, 3)), torch.full((1, BANDS), 100.0), rtol=1e-3)


@pytest.mark.parametrize("light", [body(), swarm()])
def test_light_falls_with_the_square_of_the_distance(light):
    assert torch.allclose(light.at(2.0).image(SEEING, 41).sum(), light.image(SEEING, 41).sum() / 4, rtol=1e-3)


def test_a_body_is_as_wide_as_itself_and_the_seeing():
    pixel = torch.arange(61) - 30.0
    for image, blur in zip(body(size=2.0).image(SEEING, 61)[0], SEEING, strict=True):
        variance = (image.sum(dim=0) * pixel**2).sum() / image.sum()
        assert variance.item() == pytest.approx(4 + blur**2, rel=1e-3)


def test_noise_is_that_of_the_sky_and_grows_with_the_light():
    survey = Survey(distance=1.0, seeing=SEEING, noise=2.0, sky=10.0)
    nothing = Bodies(torch.zeros(2, 400, 1), torch.zeros(BANDS, 400, 1), torch.ones(400, 1))
    generator = torch.Generator().manual_seed(0)
    assert expose([], nothing, survey, 16, generator).std().item() == pytest.approx(2.0, rel=0.01)
    bright = Bodies(nothing.place, torch.full((BANDS, 400, 1), 5000.0), nothing.size)
    images = expose([], bright, survey, 15, generator)
    clean = bright.image(SEEING, 15)[0, 0, 7, 7]
    assert images[:, 0, 7, 7].std().item() == pytest.approx(2 * (1 + clean / 10).sqrt().item(), rel=0.15)
