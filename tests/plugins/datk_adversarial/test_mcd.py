import copy
import math

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from datk.interfaces import PairInfo
from datk.nn import with_head
from datk.runs.folder import recorded_experiment
from datk.training.predict import predict
from datk.training.step import Optimization, train_step
from datk_adversarial.mcd import MCD, MeanOfHeads, discrepancy
from datk_deepmerge.mlp import MLP
from tests.build import dataset, experiment, objective
from tests.curves import lines
from tests.toys import TOYS

TOY = {"name": TOYS + "Toy", "classes": 3}


@pytest.fixture
def term(model):
    """The term after its setup, and the backbone it was set up with."""

    def make(classes=3, **options):
        torch.manual_seed(0)
        names = tuple("abc")[:classes]
        backbone = MLP(MLP.Config(hidden=(5,)), PairInfo((6,), names))
        mcd = MCD(MCD.Config(**options), model(dim=5, classes=classes))
        mcd.setup(backbone)
        return mcd, backbone

    return make


def softmax(row):
    """Probabilities of a row of logits."""
    return [math.exp(z) / sum(math.exp(y) for y in row) for z in row]


def naive_discrepancy(logits, others):
    """The formula, number by number."""
    total = 0.0
    for a, b in zip(logits.tolist(), others.tolist(), strict=True):
        total += sum(abs(p - q) for p, q in zip(softmax(a), softmax(b), strict=True)) / len(a)
    return total / len(logits)


def draw(rows, columns, seed):
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("classes", [2, 3])
def test_the_discrepancy_is_the_mean_difference_of_probabilities(classes):
    a, b = draw(6, classes, 0), draw(6, classes, 1)
    assert float(discrepancy(a, b)) == pytest.approx(naive_discrepancy(a, b), rel=1e-12)
    certain = 1e3 * torch.eye(classes)
    assert float(discrepancy(certain, certain.roll(1, dims=1))) == pytest.approx(2 / classes)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("rows", [(6, 6), (6, 4), (1, 5)])
def test_each_part_has_its_own_value(classes, rows, term, views, step):
    """Also where a class has no rows: with one source row all others have none."""
    mcd, _ = term(classes)
    mcd.double()
    labels = torch.zeros(rows[0], dtype=torch.int64)
    logits = draw(rows[1], classes, 2)
    a, b = views(draw(rows[0], 5, 0), draw(rows[1], 5, 1), labels, target_logits=logits, classes=classes)
    supervised = sum(-math.log(softmax(row)[0]) for row in mcd.second(a.features).tolist()) / rows[0]
    apart = naive_discrepancy(logits, mcd.second(b.features))
    for phase, expected in (
        ("source", supervised),
        ("disagree", supervised - apart),
        ("agree", apart),
    ):
        value = mcd(a, b, step()._replace(phase=phase))
        assert value.item() == pytest.approx(expected, rel=1e-10)


def test_the_second_head_is_like_the_first_with_weights_of_its_own(term):
    mcd, backbone = term()
    first, second = backbone.head.state_dict(), mcd.second.state_dict()
    assert {name: value.shape for name, value in first.items()} == {n: v.shape for n, v in second.items()}
    assert not any(torch.equal(first[name], second[name]) for name in first)
    assert mcd.second.training


def test_a_head_that_normalises_sees_both_domains_at_once(term, views, step):
    mcd, _ = term()
    mcd.second = nn.Sequential(nn.BatchNorm1d(5), mcd.second).double()
    a, b = views(draw(4, 5, 0), draw(6, 5, 1), classes=3)
    together = mcd.second(torch.cat([a.features, b.features]))
    for phase in ("source", "agree"):
        part = together[:4] if phase == "source" else together[4:]
        expected = (
            nn.functional.cross_entropy(part, a.labels) if phase == "source" else discrepancy(b.logits, part)
        )
        torch.testing.assert_close(mcd(a, b, step()._replace(phase=phase)), expected)


def test_the_last_part_is_repeated_as_told(term):
    assert [phase.repeat for phase in term()[0].phases] == [1, 1, 4]
    assert [phase.repeat for phase in term(num_k=2)[0].phases] == [1, 1, 2]
    assert [phase.repeat for phase in MCD.phases] == [1, 1, 4]
    with pytest.raises(ValidationError):
        MCD.Config(num_k=0)


@pytest.mark.parametrize("number", range(3))
def test_a_part_updates_what_it_should(number):
    """A step of one part alone: what changes, and what stays to the last bit."""
    chosen = experiment(pair=TOY, align="mcd")
    data = dataset(chosen)
    model = objective(chosen, data.info, data.training.source_size, data.training.target_size)
    model.phases = (model.phases[number],)
    parts = {
        "trunk": model.backbone.linear,
        "head": model.backbone.head,
        "second": model.loss_terms["mcd"].second,
    }
    before = {name: copy.deepcopy(part.state_dict()) for name, part in parts.items()}
    train_step(Optimization(model, chosen.config.train, 1), 0, *next(data.training.batches(0)))
    changed = {
        name
        for name, part in parts.items()
        if all(not torch.equal(value, before[name][key]) for key, value in part.state_dict().items())
    }
    same = {
        name
        for name, part in parts.items()
        if all(torch.equal(value, before[name][key]) for key, value in part.state_dict().items())
    }
    assert changed == [{"trunk", "head", "second"}, {"head", "second"}, {"trunk"}][number]
    assert changed | same == set(parts)


def test_the_heads_part_and_the_trunk_brings_them_together():
    """Part B makes the discrepancy of its batch larger, part C smaller."""
    chosen = experiment(pair=TOY, align={"mcd": {"num_k": 1}}, train={"lr": 1e-3, "schedule": "constant"})
    data = dataset(chosen)
    model = objective(chosen, data.info, data.training.source_size, data.training.target_size)
    source, target = next(data.training.batches(0))

    def apart():
        with torch.no_grad():
            features = model.backbone.embed(target.x)["features"]
            return float(discrepancy(model.backbone.head(features), model.loss_terms["mcd"].second(features)))

    _, disagree, agree = model.phases
    found = [apart()]
    for phase in (disagree, agree):
        model.phases = (phase._replace(supervised=False),)
        train_step(Optimization(model, chosen.config.train, 1), 0, source, target)
        found.append(apart())
    assert found[1] > found[0]
    assert found[2] < found[1]


def test_both_heads_predict_and_are_saved(tiny, weights):
    result = tiny("run", "mcd")
    state = weights(result)
    second = {name: value for name, value in state.items() if ".mcd.second." in name}
    first = {name: value for name, value in state.items() if ".backbone.head." in name}
    assert len(second) == len(first) > 0
    assert not any(torch.equal(*both) for both in zip(first.values(), second.values(), strict=True))
    moments = torch.load(result.folder / "checkpoints" / "last.pt", weights_only=True)["optimizer"]
    assert len(moments) == len([name for name in state if name.endswith((".weight", ".bias"))])

    chosen = recorded_experiment(result.folder)
    data = dataset(chosen)
    model = objective(chosen, data.info)
    for module, prefix in ((model, "objective."), (data.standardizers, "standardizers.")):
        module.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
    rows = data.splits.target.test
    logits = [
        torch.from_numpy(predict(with_head(model.backbone, head), data.training.target, rows))
        for head in (model.backbone.head, model.loss_terms["mcd"].second)
    ]
    evaluated = torch.from_numpy(predict(model.predictor(), data.training.target, rows))
    torch.testing.assert_close(evaluated, (logits[0] + logits[1]) / 2)
    answers = torch.from_numpy(data.pair.answers(rows))
    assert result.metrics["target"]["test"] == data.task.score(evaluated, answers)
    assert result.metrics["target"]["test"] != data.task.score(logits[0], answers)
    assert model.loss_terms["mcd"].second.training  # evaluation has put its mode back


def test_the_mean_of_heads():
    heads = nn.Linear(3, 2), nn.Linear(3, 2)
    x = torch.randn(4, 3)
    torch.testing.assert_close(MeanOfHeads(*heads)(x), (heads[0](x) + heads[1](x)) / 2)


@pytest.mark.parametrize(
    "logits", [torch.zeros(4, 2), torch.tensor([[1e4, 0.0]]).repeat(4, 1), torch.eye(3)[[0, 1, 2]]]
)
def test_heads_that_agree_completely_have_a_finite_gradient(logits):
    first, second = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    value = discrepancy(first, second)
    torch.autograd.backward(value)
    assert value == 0
    assert first.grad.isfinite().all()
    assert second.grad.isfinite().all()


RUNS = ["mcd", {"mcd": {"num_k": 2, "weight": 0.5, "head_lr_mult": 3.0}}]


@pytest.mark.parametrize("align", RUNS)
def test_an_interrupted_run_goes_on(align, check_interruption):
    check_interruption(align)


@pytest.mark.parametrize("align", RUNS)
def test_answers_do_not_matter(align, check_answers):
    check_answers(align)


def test_regularizers_act_in_the_first_part_alone(tiny):
    steps = lines(tiny("run", "mcd", reg=["fisher", "entropy"]).folder, "step")
    terms = {record["phase"]: set(record["terms"]) for record in steps}
    assert terms == {
        "source": {"classification", "mcd", "fisher", "entropy"},
        "disagree": {"classification", "mcd"},
        "agree": {"mcd"},
    }
