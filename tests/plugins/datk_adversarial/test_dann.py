import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn

from datk.nn import reverse_gradient
from datk_adversarial.dann import DANN, domain_classifier, domain_loss

LOGITS = st.lists(st.floats(-30, 30, width=32), min_size=1, max_size=8)


def naive_domain_loss(source, target):
    """The formula, row by row."""
    as_source = [-math.log(1 / (1 + math.exp(-z))) for z in source]
    as_target = [math.log1p(math.exp(z)) for z in target]
    return (sum(as_source) / len(source) + sum(as_target) / len(target)) / 2


def draw(rows, dim, seed, shift=0.0):
    return torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed)) + shift


@pytest.fixture
def term(model):
    """A small domain classifier without dropout, so that two passes agree."""

    def make(**options):
        torch.manual_seed(0)
        return DANN(DANN.Config(**{"hidden": (8, 8), "dropout": 0.0} | options), model(dim=4))

    return make


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@settings(max_examples=40)
@given(source=LOGITS, target=LOGITS)
def test_the_loss_is_the_formula(dtype, source, target):
    value = domain_loss(
        torch.tensor(source, dtype=dtype)[:, None], torch.tensor(target, dtype=dtype)[:, None]
    )
    assert value.dtype == dtype
    tolerance = 1e-5 if dtype == torch.float32 else 1e-10
    assert value.item() == pytest.approx(naive_domain_loss(source, target), rel=tolerance, abs=tolerance)


def test_equal_batches_give_the_mean_over_all_rows():
    source, target = draw(6, 1, 0), draw(6, 1, 1)
    labels = torch.cat([torch.ones(6, 1), torch.zeros(6, 1)])
    expected = nn.functional.binary_cross_entropy_with_logits(torch.cat([source, target]), labels)
    torch.testing.assert_close(domain_loss(source, target), expected)


def test_domains_count_alike_whatever_their_size():
    source, target = draw(2, 1, 0), draw(5, 1, 1)
    torch.testing.assert_close(domain_loss(source, target), domain_loss(source.repeat(7, 1), target))


def test_rows_with_weights_count_by_them():
    """A row of weight 2 beside one of weight 0 stands for both."""
    source, target = draw(2, 1, 0), draw(3, 1, 1)
    weights = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 3.0, 0.0])
    torch.testing.assert_close(domain_loss(source, target, weights), domain_loss(source[:1], target[1:2]))
    even = torch.ones(2), torch.ones(3)
    torch.testing.assert_close(domain_loss(source, target, even), domain_loss(source, target))


def test_hopeless_logits_stay_finite():
    source = torch.tensor([[-1e4]], requires_grad=True)
    loss = domain_loss(source, torch.tensor([[1e4]]))
    loss.backward()
    assert loss.item() == pytest.approx(1e4)
    assert source.grad.item() == pytest.approx(-0.5)


def test_the_loss_gradient_is_that_of_finite_differences():
    logits = draw(3, 1, 0).double().requires_grad_(), draw(5, 1, 1).double().requires_grad_()
    assert torch.autograd.gradcheck(domain_loss, logits)


@pytest.mark.parametrize(("features", "count"), [(2592, 3_705_857), (512, 1_575_937), (256, 1_313_793)])
def test_the_classifier_is_that_of_the_paper(features, count, model):
    torch.manual_seed(0)
    term = DANN(DANN.Config(hidden=(1024, 1024)), model(dim=features))

    assert sum(p.numel() for p in term.parameters()) == count
    names = [type(layer).__name__ for layer in term.classifier]
    assert names == ["Linear", "ReLU", "Dropout", "Linear", "ReLU", "Dropout", "Linear"]
    assert [layer.p for layer in term.classifier if isinstance(layer, nn.Dropout)] == [0.5, 0.5]
    linear = [layer for layer in term.classifier if isinstance(layer, nn.Linear)]
    for layer, std in zip(linear, (0.01, 0.01, 0.3), strict=True):
        assert layer.weight.std().item() == pytest.approx(std, rel=0.1)
        assert (layer.bias == 0).all()


def test_the_layers_follow_each_other_as_written_by_hand():
    torch.manual_seed(0)
    classifier = domain_classifier(5, (6, 7), dropout=0.5).eval()
    x = draw(3, 5, 0)
    w = dict(classifier.named_parameters())
    hidden = (x @ w["0.weight"].T + w["0.bias"]).clamp_min(0)
    hidden = (hidden @ w["3.weight"].T + w["3.bias"]).clamp_min(0)
    torch.testing.assert_close(classifier(x), hidden @ w["6.weight"].T + w["6.bias"])


@pytest.mark.parametrize("coefficient", [0.0, 0.3, 1.0, 2.5])
def test_only_the_features_see_a_reversed_gradient(coefficient, term, views, step):
    adversary = term(coefficient=coefficient)
    source, target = draw(4, 4, 0).requires_grad_(), draw(6, 4, 1).requires_grad_()
    wanted = [source, target, *adversary.parameters()]

    reversed_ = torch.autograd.grad(adversary(*views(source, target), step()), wanted)
    plain = torch.autograd.grad(
        domain_loss(adversary.classifier(source), adversary.classifier(target)), wanted
    )

    for ours, theirs in zip(reversed_[:2], plain[:2], strict=True):
        assert theirs.abs().max() > 0
        torch.testing.assert_close(ours, -coefficient * theirs)
    for ours, theirs in zip(reversed_[2:], plain[2:], strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("progress", [0.0, 0.1, 0.5, 1.0])
def test_the_ganin_reversal_grows_with_progress(progress, term, views, step):
    adversary = term(reversal="ganin", coefficient=2.0)
    source, target = draw(4, 4, 0).requires_grad_(), draw(4, 4, 1)

    (reversed_,) = torch.autograd.grad(adversary(*views(source, target), step(progress)), source)
    (plain,) = torch.autograd.grad(
        domain_loss(adversary.classifier(source), adversary.classifier(target)), source
    )

    growth = 2 / (1 + math.exp(-10 * progress)) - 1
    torch.testing.assert_close(reversed_, -2.0 * growth * plain)


@pytest.mark.parametrize("coefficient", [0.7, torch.tensor(0.7)])
def test_gradient_reversal_takes_numbers_and_tensors(coefficient):
    x = draw(2, 3, 0).requires_grad_()
    y = reverse_gradient(x, coefficient)
    torch.testing.assert_close(y, x)
    (grad,) = torch.autograd.grad((y**2).sum(), x)
    torch.testing.assert_close(grad, -0.7 * 2 * x)


def test_the_classifier_learns_and_is_saved(term, views, step):
    adversary = term()
    before = {name: value.clone() for name, value in adversary.state_dict().items()}
    assert {"classifier.0.weight", "classifier.4.bias"} <= set(before)
    optimizer = torch.optim.Adam(adversary.parameters(), lr=0.05)
    domains = views(draw(32, 4, 0, shift=1.0), draw(32, 4, 1, shift=-1.0))

    first = adversary(*domains, step())
    for _ in range(20):
        optimizer.zero_grad()
        loss = adversary(*domains, step())
        loss.backward()
        optimizer.step()

    assert loss.item() < 0.5 * first.item()
    after = adversary.state_dict()
    assert all((after[name] != value).any() for name, value in before.items())


def test_the_classifier_has_its_own_learning_rate(term):
    adversary = term(lr_mult=0.01)
    (group,) = adversary.param_groups()
    assert group.lr_mult == 0.01
    assert {id(p) for p in group.params} == {id(p) for p in adversary.parameters()}
    assert DANN.Config().lr_mult == 1.0


@pytest.mark.parametrize(
    "options",
    [{"coefficient": -1}, {"dropout": 1.0}, {"hidden": (0,)}, {"lr_mult": 0}, {"reversal": "linear"}],
)
def test_options_that_cannot_hold_are_refused(options):
    with pytest.raises(ValidationError):
        DANN.Config(**options)


def test_the_term_can_be_compiled_as_one_graph(term, views, step):
    adversary = term(reversal="ganin")
    source, target = draw(4, 4, 0).requires_grad_(), draw(4, 4, 1)
    domains, now = views(source, target), step(0.3)
    compiled = torch.compile(adversary, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(
        torch.autograd.grad(compiled(*domains, now), source),
        torch.autograd.grad(adversary(*domains, now), source),
    )


@pytest.mark.parametrize(("features", "width"), [(3, 16), (64, 64), (2592, 1024)])
def test_auto_is_one_layer_as_wide_as_the_features(features, width, model):
    linear = [
        layer for layer in DANN(DANN.Config(), model(dim=features)).classifier if isinstance(layer, nn.Linear)
    ]
    assert [tuple(layer.weight.shape) for layer in linear] == [(width, features), (1, width)]


def test_source_rows_count_by_their_weights():
    source, target = draw(3, 1, 0), draw(5, 1, 1)
    weights = torch.tensor([2.0, 1.0, 0.0])
    rows = [naive_domain_loss([float(z)], [0.0]) - math.log(2) / 2 for z in source[:, 0]]
    of_target = naive_domain_loss([0.0], target[:, 0].tolist()) - math.log(2) / 2
    expected = (2 * rows[0] + rows[1]) / 3 + of_target
    assert domain_loss(source, target, (weights, None)).item() == pytest.approx(expected, rel=1e-5)
