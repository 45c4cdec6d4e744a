import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from datk_adversarial.cdan import CDAN, entropy_weights, multilinear, randomized
from datk_adversarial.dann import domain_loss


def draw(rows, columns, seed, dtype=torch.float64):
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.fixture
def term(model):
    """A small domain classifier without dropout, so that two passes agree."""

    def make(dim=4, classes=3, **options):
        torch.manual_seed(0)
        options = {"hidden": (8,), "dropout": 0.0, "reversal": "constant"} | options
        return CDAN(CDAN.Config(**options), model(dim=dim, classes=classes))

    return make


def test_the_product_is_that_of_every_feature_with_every_class():
    features, p = draw(6, 4, 0), draw(6, 3, 1).softmax(dim=1)
    found = multilinear(features, p)
    naive = np.array(
        [[features[i, a] * p[i, k] for k in range(3) for a in range(4)] for i in range(6)], dtype=np.float64
    )
    np.testing.assert_allclose(found.numpy(), naive, rtol=1e-12)


def test_random_projections_keep_scalar_products_on_average():
    features, p = draw(2, 5, 0), draw(2, 3, 1).softmax(dim=1)
    generator = torch.Generator().manual_seed(2)
    products = []
    for _ in range(400):
        matrices = (torch.randn(n, 64, generator=generator, dtype=torch.float64) for n in (5, 3))
        first, second = randomized(features, p, *matrices)
        products.append(float(first @ second))
    exact = float((features[0] @ features[1]) * (p[0] @ p[1]))
    assert np.mean(products) == pytest.approx(exact, abs=4 * np.std(products) / math.sqrt(400))
    assert abs(exact) > 10 * abs(np.mean(products) - exact)


def test_weights_of_the_entropy_are_the_formula():
    logits = draw(6, 3, 0)
    p = np.exp(logits.numpy()) / np.exp(logits.numpy()).sum(axis=1, keepdims=True)
    entropy = [-sum(q * math.log(q) for q in row) for row in p]
    naive = np.array([1 + math.exp(-h) for h in entropy])
    np.testing.assert_allclose(entropy_weights(logits).numpy(), naive / naive.mean(), rtol=1e-12)


def test_weights_have_no_gradient_and_stand_certain_predictions():
    logits = torch.tensor([[1000.0, 0.0], [0.0, 0.0]], requires_grad=True)
    weights = entropy_weights(logits)
    assert not weights.requires_grad
    torch.testing.assert_close(weights, torch.tensor([2.0, 1.5]) / 1.75)


def naive_product(f, p, term):
    """What the classifier sees of a row, number by number."""
    if not term.projects:
        return [q * x for q in p for x in f]
    rows, columns = term.of_features.tolist(), term.of_predictions.tolist()
    d = len(rows[0])
    return [
        sum(x * row[c] for x, row in zip(f, rows, strict=True))
        * sum(q * row[c] for q, row in zip(p, columns, strict=True))
        / math.sqrt(d)
        for c in range(d)
    ]


def naive_logit(x, classifier):
    """A perceptron, unit by unit."""
    layers = [layer for layer in classifier if isinstance(layer, nn.Linear)]
    for layer in layers:
        x = [
            sum(w * value for w, value in zip(weights, x, strict=True)) + bias
            for weights, bias in zip(layer.weight.tolist(), layer.bias.tolist(), strict=True)
        ]
        if layer is not layers[-1]:
            x = [max(value, 0.0) for value in x]
    return x[0]


def naive_value(term, source, target):
    """The formulas, row by row."""
    total = 0.0
    for view, sign in ((source, 1), (target, -1)):
        weights, losses = [], []
        for f, g in zip(view.features.tolist(), view.logits.tolist(), strict=True):
            p = [math.exp(z) / sum(math.exp(y) for y in g) for z in g]
            logit = naive_logit(naive_product(f, p, term), term.classifier)
            losses.append(math.log1p(math.exp(-sign * logit)))
            weights.append(1 + math.exp(sum(q * math.log(q) for q in p)) if term.config.entropy else 1.0)
        total += sum(w * loss for w, loss in zip(weights, losses, strict=True)) / sum(weights) / 2
    return total


@pytest.mark.parametrize("rows", [(6, 6), (6, 4), (1, 5)])
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("entropy", [False, True])
@pytest.mark.parametrize("randomized", ["never", "always"])
def test_the_value_is_the_formula(rows, classes, entropy, randomized, term, views, step):
    cdan = term(classes=classes, entropy=entropy, randomized=randomized, projected=7).double()
    for parameter in cdan.parameters():
        nn.init.normal_(parameter)
    source, target = (3 * draw(n, classes, seed) for n, seed in zip(rows, (2, 3), strict=True))
    a, b = views(draw(rows[0], 4, 0), draw(rows[1], 4, 1), source_logits=source, target_logits=target)
    value = cdan(a, b, step()).detach()
    assert value.dtype == torch.float64
    assert float(value) == pytest.approx(naive_value(cdan, a, b), rel=1e-10)
    assert cdan.over_batch == entropy


def test_without_weights_it_is_the_domain_loss_of_the_products(term, views, step):
    cdan = term()
    a, b = views(draw(6, 4, 0).float(), draw(3, 4, 1).float(), classes=3)
    judged = [cdan.classifier(multilinear(view.features, view.logits.softmax(dim=1))) for view in (a, b)]
    torch.testing.assert_close(cdan(a, b, step()), domain_loss(*judged))


def test_no_row_of_a_class_and_rows_of_one_class_alone(term, views, step):
    """A class that nobody has or predicts gives columns of zeros."""
    logits = torch.tensor([[40.0, 0.0, -1e4]]).repeat(5, 1)
    labels = torch.zeros(5, dtype=torch.int64)
    a, b = views(draw(5, 4, 0).float(), draw(3, 4, 1).float(), labels, logits, logits[:3], classes=3)
    for options in ({}, {"entropy": True}, {"randomized": "always"}):
        assert term(**options)(a, b, step()).isfinite()


def test_the_gradient_of_the_features_is_reversed_and_that_of_the_predictions_stopped(term, views, step):
    def gradients(coefficient, **options):
        leaves = [draw(4, 4, 0).float(), draw(5, 4, 1).float(), draw(4, 3, 2).float(), draw(5, 3, 3).float()]
        leaves = [leaf.requires_grad_() for leaf in leaves]
        a, b = views(leaves[0], leaves[1], source_logits=leaves[2], target_logits=leaves[3], classes=3)
        cdan = term(coefficient=coefficient, **options)
        torch.autograd.backward(cdan(a, b, step(0.25)))
        assert [leaf.grad for leaf in leaves[2:]] == [None, None]
        return [leaf.grad for leaf in leaves[:2]], [p.grad for p in cdan.parameters()]

    (whole, own), (half, own_of_half) = gradients(1.0), gradients(0.5)
    for one, other in zip(whole, half, strict=True):
        torch.testing.assert_close(one, 2 * other)
        assert one.abs().max() > 0
    for one, other in zip(own, own_of_half, strict=True):
        torch.testing.assert_close(one, other)
    growing, own_of_growing = gradients(1.0, reversal="ganin")
    for one, other in zip(whole, growing, strict=True):
        torch.testing.assert_close((2 / (1 + math.exp(-2.5)) - 1) * one, other)
    for one, other in zip(own, own_of_growing, strict=True):
        torch.testing.assert_close(one, other)

    a, b = views(draw(4, 4, 0).float().requires_grad_(), draw(5, 4, 1).float(), classes=3)
    cdan = term()
    (reversed_,) = torch.autograd.grad(cdan(a, b, step()), a.features)
    judged = [cdan.classifier(multilinear(view.features, view.logits.softmax(dim=1))) for view in (a, b)]
    (plain,) = torch.autograd.grad(domain_loss(*judged), a.features)
    torch.testing.assert_close(reversed_, -plain)


def test_long_products_are_projected(term):
    assert not term(dim=64, classes=64).projects
    projected = term(dim=65, classes=64, projected=32)
    assert projected.projects
    assert {name for name, _ in projected.named_buffers()} == {"of_features", "of_predictions"}
    assert projected.state_dict().keys() >= {"of_features", "of_predictions"}
    assert term(randomized="always", projected=16).projects
    assert not term(dim=65, classes=64, randomized="never").projects


@pytest.mark.parametrize(
    "logits", [torch.zeros(5, 2), torch.tensor([[500.0, 0.0]]).repeat(5, 1), 1e4 * torch.eye(2)[[1] * 5]]
)
@pytest.mark.parametrize("randomized", ["never", "always"])
def test_a_collapsed_network_has_a_finite_gradient(logits, randomized, term, views, step):
    features = torch.zeros(5, 4, requires_grad=True)
    a, b = views(features, features, source_logits=logits, target_logits=logits)
    cdan = term(classes=2, entropy=True, randomized=randomized)
    value = cdan(a, b, step())
    torch.autograd.backward(value)
    assert value.isfinite()
    assert features.grad.isfinite().all()
    assert all(p.grad.isfinite().all() for p in cdan.parameters())


def test_a_state_brings_its_projections(model, views, step):
    """Other draws, and the same value after loading."""
    terms = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        options = CDAN.Config(hidden=(8,), dropout=0.0, randomized="always", projected=16)
        terms.append(CDAN(options, model(dim=4, classes=3)))
    assert not torch.equal(terms[0].of_features, terms[1].of_features)
    a, b = views(draw(4, 4, 0).float(), draw(5, 4, 1).float(), classes=3)
    terms[1].load_state_dict(terms[0].state_dict())
    assert torch.equal(terms[0](a, b, step()), terms[1](a, b, step()))


def test_the_defaults_are_those_of_the_authors():
    config = CDAN.Config()
    assert (config.weight, config.entropy, config.reversal, config.projected) == (1.0, False, "ganin", 1024)
    assert (config.hidden, config.dropout) == ((1024, 1024), 0.5)


@pytest.mark.parametrize("options", [{"projected": 0}, {"randomized": "sometimes"}, {"coefficient": -1}])
def test_options_that_cannot_hold_are_refused(options):
    with pytest.raises(ValidationError):
        CDAN.Config(**options)


RUNS = [
    {"cdan": {"hidden": [6]}},
    {"cdan": {"hidden": [6], "entropy": True, "randomized": "always", "projected": 8, "weight": 0.5}},
]


@pytest.mark.parametrize("align", RUNS)
def test_an_interrupted_run_goes_on(align, check_interruption, weights):
    saved = weights(check_interruption(align))
    projections = [name for name in saved if name.endswith((".of_features", ".of_predictions"))]
    assert len(projections) == (2 if "randomized" in align["cdan"] else 0)


@pytest.mark.parametrize("align", RUNS)
def test_answers_do_not_matter(align, check_answers):
    check_answers(align)
