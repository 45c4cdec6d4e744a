import copy

import pytest
import torch
from torch import nn

from datk.nn import DomainBatchNorm, by_domain, of_domains

SHAPES = [(9, 4), (9, 4, 5), (9, 4, 5, 3)]
DOMAIN = torch.tensor([0, 1, 1, 0, 2, 2, 1, 0, 0])


def draw(shape, seed=0):
    return 2 * torch.randn(shape, generator=torch.Generator().manual_seed(seed)) + 1


def torch_norm(shape):
    norm = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d}[len(shape)](shape[1])
    with torch.no_grad():
        norm.weight.uniform_(0.5, 2)
        norm.bias.uniform_(-1, 1)
    return norm


def apart(norm):
    """A torch norm for every domain."""
    return [copy.deepcopy(norm) for _ in range(3)]


@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_torchs_for_the_rows_of_each_domain(shape):
    torch.manual_seed(0)
    norm = torch_norm(shape)
    module = by_domain(nn.Sequential(copy.deepcopy(norm)), 3)
    naive, x = apart(norm), draw(shape)
    for training in (True, True, False):
        module.train(training)
        leaf, other = x.clone().requires_grad_(), x.clone().requires_grad_()
        with of_domains(module, DOMAIN):
            found = module(leaf)
        expected = torch.empty_like(x)
        for number, one in enumerate(naive):
            one.train(training)
            expected = expected.index_put((number == DOMAIN,), one(other[number == DOMAIN]))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        weights = draw(shape, 1)
        torch.autograd.backward((found * weights).sum())
        torch.autograd.backward((expected * weights).sum())
        torch.testing.assert_close(leaf.grad, other.grad, rtol=1e-3, atol=1e-4)
        x = draw(shape, 2)
    for number, one in enumerate(naive):
        torch.testing.assert_close(module[0].running_mean[number], one.running_mean, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(module[0].running_var[number], one.running_var, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(module[0].weight.grad[number], one.weight.grad, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(module[0].bias.grad[number], one.bias.grad, rtol=1e-3, atol=1e-4)
        assert module[0].num_batches_tracked[number] == one.num_batches_tracked == 2


def test_a_domain_without_rows_keeps_its_statistics():
    norm = DomainBatchNorm(3, 4)
    with of_domains(norm, torch.zeros(9, dtype=torch.int64)):
        out = norm(draw((9, 4)))
    assert out.isfinite().all()
    assert torch.equal(norm.running_mean[1:], torch.zeros(2, 4))
    assert torch.equal(norm.running_var[1:], torch.ones(2, 4))
    assert norm.num_batches_tracked.tolist() == [1, 0, 0]


def test_rows_of_one_domain_do_not_change_another():
    norm = DomainBatchNorm(3, 4)
    x = draw((9, 4))
    moved = x + 100 * (DOMAIN == 2)[:, None]
    with of_domains(norm, DOMAIN):
        first, second = norm(x), norm(moved)
    assert torch.equal(first[DOMAIN != 2], second[DOMAIN != 2])


def test_far_from_zero_it_stays_exact():
    """Variances come from deviations, not from a difference of squares."""
    norm = DomainBatchNorm(3, 4)
    x = draw((9, 4, 8, 8))
    with of_domains(norm, DOMAIN):
        torch.testing.assert_close(norm(x + 1000), norm(x), rtol=0, atol=2e-3)


def test_half_precision_comes_back():
    norm = DomainBatchNorm(3, 4)
    with of_domains(norm, DOMAIN):
        assert norm(draw((9, 4)).bfloat16()).dtype == torch.bfloat16
    assert norm.running_mean.dtype == torch.float32


def test_it_must_be_told_the_domains():
    norm = DomainBatchNorm(2, 4)
    with pytest.raises(RuntimeError, match="told the domains"):
        norm(draw((3, 4)))
    with of_domains(norm, torch.zeros(3, dtype=torch.int64)):
        norm(draw((3, 4)))
    assert norm.domain is None


def test_kinds_that_do_more_are_refused():
    class WithActivation(nn.BatchNorm2d):
        def forward(self, input):
            return super().forward(input).relu()

    with pytest.raises(TypeError, match="WithActivation"):
        by_domain(nn.Sequential(nn.Sequential(WithActivation(3))), 2)
    with pytest.raises(TypeError, match="without weights"):
        by_domain(nn.Sequential(nn.BatchNorm1d(3, affine=False)), 2)
