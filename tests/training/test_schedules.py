"""Learning rates against their closed forms, and on their way into the optimiser."""

import numpy as np
import pytest

from datk.config.models import TrainConfig
from datk.training.schedules import cosine, one_cycle, schedule, triangle

TOTAL = 1000


def curve(schedule, total=TOTAL):
    return np.array([schedule(step) for step in range(total)])


def test_one_cycle():
    step = np.arange(TOTAL)
    rise = 1 / 25 + (1 - 1 / 25) * np.sin(np.pi * step / 600) ** 2
    fall = 4e-6 + (1 - 4e-6) * np.cos(np.pi * (step - 300) / 1400) ** 2
    values = curve(lambda step: one_cycle(step, TOTAL))
    np.testing.assert_allclose(values, np.where(step < 300, rise, fall), rtol=1e-9)
    assert values[0] == pytest.approx(1 / 25)
    assert values.argmax() == 300
    assert values[300] == 1
    assert one_cycle(TOTAL, TOTAL) == pytest.approx(4e-6)


@pytest.mark.parametrize("cycle_length", [0.5, 2, 5, 8])
@pytest.mark.parametrize("steps_per_epoch", [11, 85])
def test_triangle(cycle_length, steps_per_epoch):
    """The published code: period int(0.9 c S); up for half of it, rounded down, and down again over the rest,
    from a tenth of the peak."""
    period = int(0.9 * cycle_length * steps_per_epoch)
    half = period // 2
    within = np.arange(TOTAL) % period
    expected = np.interp(within, [0, half, period], [0.1, 1.0, 0.1])
    config = TrainConfig(schedule="triangle", cycle_length=cycle_length)
    np.testing.assert_allclose(curve(schedule(config, steps_per_epoch)), expected, rtol=1e-9)


def test_an_odd_triangle_comes_down_over_the_longer_half():
    """Of simreal-mmd: 33 steps an epoch, a cycle of two epochs, a period of 59."""
    factor = schedule(TrainConfig(schedule="triangle", cycle_length=2), 33)
    assert factor(29) == 1
    assert factor(58) == pytest.approx(0.1 + 0.9 / 30)
    assert factor(59) == factor(0) == pytest.approx(0.1)
    down = np.diff([factor(step) for step in range(29, 60)])
    np.testing.assert_allclose(down, -0.9 / 30)


@pytest.mark.parametrize("period", [0, 1, 2, 3])
def test_the_shortest_triangles_stay_between_a_tenth_and_one(period):
    values = curve(lambda step: triangle(step, period), 10)
    assert values.min() >= 0.1
    assert values.max() <= 1


def test_cosine():
    expected = np.cos(np.pi * np.arange(TOTAL) / TOTAL / 2) ** 2
    np.testing.assert_allclose(curve(lambda step: cosine(step, TOTAL)), expected, atol=1e-12)
    assert cosine(TOTAL, TOTAL) == 0


def test_constant():
    assert set(curve(schedule(TrainConfig(schedule="constant"), 7))) == {1.0}


@pytest.mark.parametrize("name", ["one-cycle", "triangle", "cosine", "constant"])
@pytest.mark.parametrize("epochs", [1, 3])
@pytest.mark.parametrize("steps", [1, 2, 50])
def test_every_schedule_gives_a_factor_at_every_step(name, epochs, steps):
    values = curve(schedule(TrainConfig(schedule=name, epochs=epochs), steps), epochs * steps)
    assert (values >= 0).all()
    assert (values <= 1).all()
    assert values[0] > 0
