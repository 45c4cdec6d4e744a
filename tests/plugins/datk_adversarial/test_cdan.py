import math

import numpy as np
import pytest
import torch

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


@pytest.mark.parametrize("rows", [(6, 6), (6, 3), (1, 5)])
def test_without_weights_it_is_the_domain_loss_of_the_products(term, views, step, rows):
    source, target = draw(rows[0], 4, 0).float(), draw(rows[1], 4, 1).float()
    cdan = term()
    a, b = views(source, target, classes=3)
    judged = [cdan.classifier(multilinear(view.features, view.logits.softmax(dim=1))) for view in (a, b)]
    torch.testing.assert_close(cdan(a, b, step()), domain_loss(*judged))


def test_weighted_losses_are_means_of_each_domain(term, views, step):
    cdan = term(entropy=True)
    a, b = views(draw(6, 4, 0).float(), draw(3, 4, 1).float(), classes=3)
    total = 0.0
    for view, sign in ((a, 1), (b, -1)):
        judged = cdan.classifier(multilinear(view.features, view.logits.softmax(dim=1))).squeeze(1).tolist()
        weights = entropy_weights(view.logits).tolist()
        rows = [w * math.log1p(math.exp(-sign * z)) for w, z in zip(weights, judged, strict=True)]
        total += sum(rows) / len(rows) / 2
    assert float(cdan(a, b, step())) == pytest.approx(total, rel=1e-5)
    assert cdan.over_batch
    assert not term().over_batch


def test_features_and_predictions_get_the_reversed_gradient(term, views, step):
    def gradients(coefficient):
        leaves = [draw(4, 4, 0).float(), draw(5, 4, 1).float(), draw(4, 3, 2).float(), draw(5, 3, 3).float()]
        leaves = [leaf.requires_grad_() for leaf in leaves]
        a, b = views(leaves[0], leaves[1], source_logits=leaves[2], target_logits=leaves[3], classes=3)
        cdan = term(coefficient=coefficient)
        torch.autograd.backward(cdan(a, b, step()))
        return [leaf.grad for leaf in leaves], [p.grad for p in cdan.parameters()]

    (whole, own), (half, own_of_half) = gradients(1.0), gradients(0.5)
    for one, other in zip(whole, half, strict=True):
        torch.testing.assert_close(one, 2 * other)
        assert one.abs().max() > 0
    for one, other in zip(own, own_of_half, strict=True):
        torch.testing.assert_close(one, other)


def test_long_products_are_projected(term):
    assert not term(dim=64, classes=64).projects
    projected = term(dim=65, classes=64, projected=32)
    assert projected.projects
    assert {name for name, _ in projected.named_buffers()} == {"of_features", "of_predictions"}
    assert projected.state_dict().keys() >= {"of_features", "of_predictions"}
    assert term(randomized="always", projected=16).projects
    assert not term(dim=65, classes=64, randomized="never").projects


def test_a_collapsed_network_has_a_finite_gradient(term, views, step):
    logits = torch.full((5, 2), 0.0).index_fill(1, torch.tensor([0]), 500.0).requires_grad_()
    features = torch.zeros(5, 4, requires_grad=True)
    a, b = views(features, features, source_logits=logits, target_logits=logits)
    torch.autograd.backward(term(classes=2, entropy=True)(a, b, step()))
    assert logits.grad.isfinite().all()
    assert features.grad.isfinite().all()
