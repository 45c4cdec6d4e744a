import torch

from datk_discrepancy.none import SourceOnly


def test_the_baseline_is_a_zero_without_gradient(model, views, step):
    term = SourceOnly(SourceOnly.Config(), model())
    source = torch.randn(3, 4, requires_grad=True)

    loss = term(*views(source, torch.randn(5, 4)), step())

    assert loss.shape == ()
    assert loss.dtype == source.dtype
    assert loss.item() == 0
    assert not loss.requires_grad


def test_the_baseline_does_without_target_and_parameters(model):
    assert not SourceOnly.needs_target
    assert SourceOnly(SourceOnly.Config(), model()).param_groups() == []
