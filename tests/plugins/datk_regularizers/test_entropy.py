import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pydantic import ValidationError

from datk_regularizers.entropy import Entropy, entropy

LOGITS = arrays(
    np.float32,
    array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=6),
    elements=st.floats(-20, 20, width=32),
)


def naive_entropy(logits, smallest=0.0):
    """The formula, number by number; `smallest` drops smaller probabilities."""
    total = 0.0
    for row in logits.astype(np.float64):
        exponentials = [math.exp(z) for z in row]
        for e in exponentials:
            p = e / sum(exponentials)
            if p > smallest:
                total -= p * math.log(p)
    return total / len(logits)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@settings(max_examples=30)
@given(logits=LOGITS)
def test_entropy_is_the_formula(dtype, logits):
    value = entropy(torch.tensor(logits, dtype=dtype))
    assert value.dtype == dtype
    assert value.shape == ()
    assert value.item() == pytest.approx(naive_entropy(logits), abs=1e-5 if dtype == torch.float32 else 1e-10)


@settings(max_examples=30)
@given(logits=LOGITS)
def test_dropping_tiny_probabilities_would_hardly_matter(logits):
    difference = entropy(torch.tensor(logits).double()).item() - naive_entropy(logits, smallest=1e-6)
    assert -1e-10 <= difference < logits.shape[1] * 1.4e-5


def test_the_gradient_is_that_of_finite_differences():
    torch.manual_seed(0)
    assert torch.autograd.gradcheck(entropy, torch.randn(4, 3, dtype=torch.float64, requires_grad=True))


def test_equal_logits_have_the_largest_entropy():
    assert entropy(torch.full((2, 5), 3.0)).item() == pytest.approx(math.log(5))


def test_certain_predictions_stay_finite():
    logits = torch.tensor([[1e4, -1e4], [0.0, 3e38]], requires_grad=True)
    loss = entropy(logits)
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("domains", ["both", "target"])
def test_the_term_averages_over_the_rows_it_is_told_to(domains, model, views, step):
    torch.manual_seed(0)
    source, target = torch.randn(3, 2), torch.randn(5, 2)
    both = views(torch.randn(3, 4), torch.randn(5, 4), source_logits=source, target_logits=target)

    value = Entropy(Entropy.Config(domains=domains), model())(*both, step())

    rows = torch.cat([source, target]) if domains == "both" else target
    assert value.item() == pytest.approx(naive_entropy(rows.numpy()), abs=1e-5)


def test_the_defaults_are_those_of_the_paper():
    assert (Entropy.Config().weight, Entropy.Config().domains) == (0.05, "both")


@pytest.mark.parametrize("options", [{"weight": -0.1}, {"domains": "source"}])
def test_options_that_cannot_hold_are_refused(options):
    with pytest.raises(ValidationError):
        Entropy.Config(**options)
