import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from datk_regularizers.fisher import Fisher, between_scatter, trace_difference, trace_ratio, within_scatter

SIZES = {
    "batch": st.integers(1, 8),
    "dim": st.integers(1, 6),
    "classes": st.integers(2, 4),
    "seed": st.integers(0, 999),
}


def naive_scatters(features, labels, centres):
    """The formulas, number by number."""
    features, centres = features.astype(np.float64), centres.astype(np.float64)
    within = 0.0
    for feature, label in zip(features, labels, strict=True):
        within += min(
            max(sum((f - c) ** 2 for f, c in zip(feature, centres[label], strict=True)), 1e-12), 1e12
        )
    mean = sum(centres) / len(centres)
    between = sum(sum((c - m) ** 2 for c, m in zip(centre, mean, strict=True)) for centre in centres)
    return within, between


def draw(batch, dim, classes, seed, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(batch, dim, generator=generator, dtype=dtype),
        torch.randint(classes, (batch,), generator=generator),
        torch.randn(classes, dim, generator=generator, dtype=dtype) + 1,
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@settings(max_examples=25)
@given(**SIZES)
def test_both_forms_are_the_formulas(dtype, batch, dim, classes, seed):
    features, labels, centres = draw(batch, dim, classes, seed, dtype)
    within, between = naive_scatters(features.numpy(), labels.numpy(), centres.numpy())

    ratio = trace_ratio(features, labels, centres, within=0.02, between=3.0)
    difference = trace_difference(features, labels, centres, within=0.02, between=3.0)

    assert ratio.dtype == difference.dtype == dtype
    tolerance = 1e-4 if dtype == torch.float32 else 1e-10
    assert ratio.item() == pytest.approx(0.02 * within / (3.0 * between), rel=tolerance)
    assert difference.item() == pytest.approx(0.02 * within - 3.0 * between, rel=tolerance, abs=tolerance)


@pytest.mark.parametrize("loss", [trace_ratio, trace_difference])
def test_the_gradient_is_that_of_finite_differences(loss):
    features, labels, centres = draw(5, 3, 3, 0, torch.float64)
    assert torch.autograd.gradcheck(
        lambda f, c: loss(f, labels, c), (features.requires_grad_(), centres.requires_grad_())
    )


def test_the_scatter_within_is_a_sum_over_the_batch():
    features, labels, centres = draw(5, 3, 2, 0)
    once = within_scatter(features, labels, centres)
    twice = within_scatter(features.repeat(2, 1), labels.repeat(2), centres)
    torch.testing.assert_close(twice, 2 * once)


@pytest.mark.parametrize(("offset", "expected"), [(0.0, 1e-12), (1e7, 1e12)])
def test_the_squared_distance_of_a_row_is_clamped(offset, expected):
    features = torch.full((1, 2), offset, requires_grad=True)
    loss = within_scatter(features, torch.tensor([0]), torch.zeros(2, 2))
    loss.backward()
    assert loss.item() == pytest.approx(expected)
    assert (features.grad == 0).all()


def test_centres_in_one_place_do_not_scatter():
    assert between_scatter(torch.ones(3, 4)).item() == 0


@pytest.mark.parametrize(("form", "loss"), [("ratio", trace_ratio), ("difference", trace_difference)])
def test_the_term_binds_its_options(form, loss, model, views, step):
    term = Fisher(Fisher.Config(form=form, within=0.1, between=2.0), model(dim=3, classes=3))
    features, labels, _ = draw(6, 3, 3, 0)
    value = term(*views(features, torch.randn(2, 3), labels, classes=3), step())
    torch.testing.assert_close(value, loss(features, labels, term.centres, 0.1, 2.0))


def test_the_target_is_not_looked_at(model, views, step):
    assert not Fisher.needs_target
    term = Fisher(Fisher.Config(), model(dim=3))
    source, nothing = views(torch.randn(4, 3), torch.full((4, 3), torch.nan))
    assert term(source, nothing, step()).isfinite()


def test_the_centres_are_standard_normal_from_the_global_generator(model):
    torch.manual_seed(3)
    term = Fisher(Fisher.Config(), model(dim=2592, classes=2))
    torch.manual_seed(3)
    torch.testing.assert_close(term.centres.detach(), torch.randn(2, 2592))


def test_the_centres_learn_and_are_saved(model, views, step):
    torch.manual_seed(0)
    term = Fisher(Fisher.Config(), model(dim=3))
    before = term.centres.detach().clone()
    features, labels, _ = draw(16, 3, 2, 0)
    domains = views(features, features, labels)
    optimizer = torch.optim.Adam(term.parameters(), lr=0.05)

    first = term(*domains, step())
    for _ in range(10):
        optimizer.zero_grad()
        loss = term(*domains, step())
        loss.backward()
        optimizer.step()

    assert loss.item() < first.item()
    assert (term.state_dict()["centres"] != before).all()


def test_the_centres_have_their_own_learning_rate(model):
    (group,) = Fisher(Fisher.Config(), model()).param_groups()
    assert group.lr_mult == 10.0
    (group,) = Fisher(Fisher.Config(centre_lr_mult=3), model()).param_groups()
    assert group.lr_mult == 3.0


def test_the_defaults_are_those_of_the_paper():
    config = Fisher.Config()
    assert (config.form, config.within, config.between, config.weight) == ("ratio", 0.01, 1.0, 1.0)


@pytest.mark.parametrize(
    "options", [{"between": 0}, {"within": 0}, {"centre_lr_mult": 0}, {"form": "tr"}, {"weight": -1}]
)
def test_options_that_cannot_hold_are_refused(options):
    with pytest.raises(ValidationError):
        Fisher.Config(**options)
