"""Random rotations are rotations, and favour no direction."""

import torch

from datk_galaxies.draws import lognormal, rotations, uniform


def test_rotations_are_orthogonal_and_do_not_mirror():
    matrices = rotations((3, 50), torch.Generator().manual_seed(0)).double()
    torch.testing.assert_close(
        matrices @ matrices.mT, torch.eye(3).double().expand(3, 50, 3, 3), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(torch.linalg.det(matrices), torch.ones(3, 50).double(), atol=1e-5, rtol=0)


def test_rotations_turn_an_axis_to_all_directions_alike():
    axis = rotations((20_000,), torch.Generator().manual_seed(0))[:, :, 2]
    # The mean of 20,000 components has a standard error of 0.004; uniform on the sphere means squares of 1/3.
    assert axis.mean(dim=0).abs().max() < 0.02
    assert (axis.square().mean(dim=0) - 1 / 3).abs().max() < 0.02


def test_uniform_stays_within_its_bounds():
    numbers = uniform(-2.0, 3.0, (1000,), torch.Generator().manual_seed(0))
    assert -2 <= numbers.min() < -1.9
    assert 2.9 < numbers.max() <= 3


def test_lognormal_has_the_given_median_and_scatter():
    logs = lognormal(5.0, 0.4, (20_000,), torch.Generator().manual_seed(0)).log()
    assert abs(logs.median() - torch.tensor(5.0).log()) < 0.02
    assert abs(logs.std() - 0.4) < 0.02
