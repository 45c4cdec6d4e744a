import json
import math
from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from datk.nn import strong_view
from datk_selftraining.fixmatch import FixMatch, aligned


def draw(rows, dim, seed=0):
    return torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def softmax(row):
    """Probabilities of a row of logits."""
    terms = [math.exp(value) for value in row]
    return [term / sum(terms) for term in terms]


def naive_mean(rows):
    """Of probabilities, class by class."""
    return [sum(row[k] for row in rows) / len(rows) for k in range(len(rows[0]))]


@pytest.fixture
def network():
    """A linear network as steps have it; remembers what it was shown."""
    torch.manual_seed(0)
    linear = nn.Linear(4, 3).double()

    def passed(x, domain=None):
        network.shown.append((x, domain))
        return {"features": x}, linear(x)

    network = passed
    network.shown, network.linear = [], linear
    return network


@pytest.fixture
def term(model):
    return lambda classes=3, **options: FixMatch(FixMatch.Config(**options), model(classes=classes)).double()


@pytest.mark.parametrize(
    "options", [{}, {"threshold": 0.6, "align_shares": False}, {"threshold": 0.9, "relative": True}]
)
def test_the_value_is_the_formula_over_several_steps(options, term, network, views, step):
    fixmatch = term(**options)
    config = fixmatch.config
    means = {"source": [0.0] * 3, "target": [0.0] * 3}
    shares = []
    for seed in range(3):
        logits = {"source": 3 * draw(5, 3, 10 + seed), "target": 4 * draw(6, 3, 20 + seed)}
        source, target = views(
            draw(5, 4, seed),
            draw(6, 4, 30 + seed),
            source_logits=logits["source"],
            target_logits=logits["target"].requires_grad_(),
            classes=3,
        )
        torch.manual_seed(seed)
        value, logged = fixmatch(source, target, step()._replace(network=network))

        p = {domain: [softmax(row) for row in logits[domain].tolist()] for domain in logits}
        for domain in means:
            now = naive_mean(p[domain])
            means[domain] = [0.9 * old + 0.1 * new for old, new in zip(means[domain], now, strict=True)]
        if config.align_shares:
            ratio = [s / t for s, t in zip(means["source"], means["target"], strict=True)]
            p["target"] = [[q * r for q, r in zip(row, ratio, strict=True)] for row in p["target"]]
            p["target"] = [[q / sum(row) for q in row] for row in p["target"]]
        threshold = config.threshold
        if config.relative:
            threshold *= sum(max(row) for row in p["source"]) / 5
        torch.manual_seed(seed)
        strong = strong_view(target.x)
        assert torch.equal(network.shown[-1][0], torch.cat([source.x, strong]))
        assert network.shown[-1][1].tolist() == [0] * 5 + [1] * 6
        losses = []
        for row, goal in zip(network.linear(strong).tolist(), p["target"], strict=True):
            best = max(range(3), key=lambda k, goal=goal: goal[k])
            if goal[best] >= threshold:
                losses.append(-math.log(softmax(row)[best]))
        assert value.item() == pytest.approx(sum(losses) / 6, rel=1e-9)
        assert logged["confident"].item() == pytest.approx(len(losses) / 6)
        shares.append(len(losses))
        torch.autograd.backward(value)
        assert target.logits.grad is None  # what teaches is not taught
    assert 0 < sum(shares) < 18
    assert network.linear.weight.grad.isfinite().all()
    assert network.linear.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("classes", [2, 3])
def test_alignment_scales_to_the_shares_of_the_source(classes):
    p = draw(6, classes).softmax(dim=1)
    source, target = draw(1, classes, 1).softmax(dim=1)[0], p.mean(dim=0)
    found = aligned(p, source, target).tolist()
    for row, scaled in zip(p.tolist(), found, strict=True):
        products = [row[k] * float(source[k]) / float(target[k]) for k in range(classes)]
        assert scaled == pytest.approx([value / sum(products) for value in products], rel=1e-12)
    torch.testing.assert_close(aligned(p, target, target), p)


def test_a_class_that_nobody_predicts_stays_finite(term, network, views, step):
    """Probabilities of exactly 0 in either domain."""
    certain = 1e5 * torch.eye(3, dtype=torch.float64)
    for source_class, target_class in ((0, 0), (0, 1), (2, 1)):
        source, target = views(
            draw(2, 4),
            draw(7, 4),
            source_logits=certain[[source_class] * 2],
            target_logits=certain[[target_class] * 7],
            classes=3,
        )
        value, logged = term()(source, target, step()._replace(network=network))
        torch.autograd.backward(value)
        assert value.isfinite()
        assert logged["confident"].isfinite()
    assert network.linear.weight.grad.isfinite().all()


def test_two_classes(term, views, step):
    """Undecided rows are not learned from, certain ones are."""
    teaching = torch.tensor([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]], dtype=torch.float64)
    source, target = views(draw(3, 4), draw(3, 4), source_logits=teaching, target_logits=teaching)
    asked = torch.zeros(6, 2, dtype=torch.float64)
    value, logged = term(classes=2)(source, target, step()._replace(network=lambda x, domain: ({}, asked)))
    assert value.item() == pytest.approx(2 * math.log(2) / 3)
    assert logged["confident"].item() == pytest.approx(2 / 3)


def test_strength_and_symmetries_reach_the_views(term, views, step):
    """Without strength a view shows what is there; with symmetries in all eight ways."""
    x = torch.arange(4.0, dtype=torch.float64).view(1, 1, 2, 2).repeat(60, 1, 1, 1)
    source, target = views(draw(3, 4), draw(60, 4), source_logits=draw(3, 3), target_logits=draw(60, 3))
    source, target = replace(source, x=x[:3]), replace(target, x=x)
    seen = []

    def network(x, domain):
        seen.append(x[3:])
        return {}, draw(63, 3)

    for options in ({"strength": 0.0}, {"strength": 0.0, "symmetries": True}, {}):
        term(**options)(source, target, step()._replace(network=network))
    assert torch.equal(seen[0], x)
    kinds = [{tuple(row) for row in shown.flatten(1).tolist()} for shown in seen]
    assert len(kinds[1]) == 8
    assert all(sorted(kind) == [0, 1, 2, 3] for kind in kinds[1])
    assert len(kinds[2]) == 60


@pytest.mark.parametrize("options", [{"threshold": 1.1}, {"threshold": -0.1}, {"strength": 2.5}])
def test_options_that_cannot_hold_are_refused(options):
    with pytest.raises(ValidationError):
        FixMatch.Config(**options)


def test_the_threshold_is_that_of_the_paper():
    assert FixMatch.Config().threshold == 0.95
    assert not FixMatch.over_batch


def test_an_interrupted_run_goes_on(check_interruption):
    """The averages of predictions are saved, and views drawn anew are the same."""
    result = check_interruption({"fixmatch": {"threshold": 0.3}})
    lines = map(json.loads, (result.folder / "metrics.jsonl").read_text().splitlines())
    shares = [line["logged"]["fixmatch.confident"] for line in lines if line["kind"] == "step"]
    assert 0 < max(shares) <= 1


def test_answers_do_not_matter(check_answers):
    check_answers({"fixmatch": {"threshold": 0.3}})


def test_it_learns_from_the_target(tiny, weights):
    """A threshold that nothing reaches gives other weights."""
    some, none = (weights(tiny(f"{t}", {"fixmatch": {"threshold": t}})) for t in (0.3, 1.0))
    assert any(not torch.equal(some[name], none[name]) for name in some if ".backbone." in name)
