import math

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from datk.interfaces import Backbone
from datk.nn import strong_view
from datk.runs.folder import recorded_experiment
from datk.training.predict import predict
from datk_selftraining.mean_teacher import MeanTeacher
from tests.build import dataset, objective


class Normed(Backbone):
    """A layer with batch normalisation, dropout and a head."""

    def __init__(self, classes=3):
        nn.Module.__init__(self)
        self.trunk = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Dropout(0.5))
        self.head = nn.Linear(5, classes)

    def embed(self, x):
        return {"features": self.trunk(x)}


def draw(rows, dim, seed=0):
    return torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def softmax(row):
    """Probabilities of a row of logits."""
    terms = [math.exp(value) for value in row]
    return [term / sum(terms) for term in terms]


@pytest.fixture
def term(model):
    """The term after its setup, and the backbone it was set up with."""

    def make(classes=3, **options):
        torch.manual_seed(0)
        backbone = Normed(classes)
        mean_teacher = MeanTeacher(MeanTeacher.Config(**options), model(classes=classes))
        mean_teacher.setup(backbone)
        return mean_teacher, backbone

    return make


def test_the_teacher_is_a_copy_that_is_not_trained(term):
    mean_teacher, backbone = term()
    teacher = mean_teacher.predictor(backbone)
    assert teacher is mean_teacher.teacher is not backbone
    own = {id(tensor) for tensor in (*teacher.parameters(), *teacher.buffers())}
    assert not own & {id(tensor) for tensor in (*backbone.parameters(), *backbone.buffers())}
    assert all(
        torch.equal(mine, theirs)
        for mine, theirs in zip(teacher.parameters(), backbone.parameters(), strict=True)
    )
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert not any(part.training for part in teacher.modules())
    assert all(part.training for part in backbone.modules())
    assert mean_teacher.param_groups() == []


@pytest.mark.parametrize("options", [{}, {"threshold": 0.0}, {"threshold": 0.5, "strength": 0.3}])
@pytest.mark.parametrize("classes", [2, 3])
def test_the_value_is_the_formula(options, classes, term, views, step):
    mean_teacher, _ = term(classes, **options)
    mean_teacher.double()
    nn.init.normal_(mean_teacher.teacher.head.weight, std=4.0)
    student = nn.Linear(4, classes).double()
    source, target = views(draw(2, 4), draw(6, 4), classes=classes)
    torch.manual_seed(1)
    now = step()._replace(network=lambda x, domain: ({}, student(x)))
    value, logged = mean_teacher(source, target, now)

    torch.manual_seed(1)
    learned = student(strong_view(target.x, mean_teacher.config.strength)).tolist()
    total, confident = 0.0, 0
    for row, goal in zip(learned, mean_teacher.teacher(target.x).tolist(), strict=True):
        p, q = softmax(row), softmax(goal)
        if max(q) >= mean_teacher.config.threshold:
            confident += 1
            total += sum((a - b) ** 2 for a, b in zip(p, q, strict=True)) / classes
    assert 0 < confident <= 6
    # The teacher's probabilities are float32, as all that terms compute with is in a run.
    assert value.item() == pytest.approx(total / 6, rel=1e-5)
    assert logged["confident"].item() == pytest.approx(confident / 6)
    torch.autograd.backward(value)
    assert student.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("logits", [torch.zeros(5, 3), 1e4 * torch.eye(3)[[0] * 5]])
def test_the_gradient_is_finite_at_collapse(logits, term, views, step):
    mean_teacher, _ = term(threshold=0.0)
    logits = logits.clone().requires_grad_()
    source, target = views(draw(2, 4).float(), draw(5, 4).float(), classes=3)
    value, _ = mean_teacher(source, target, step()._replace(network=lambda x, domain: ({}, logits)))
    torch.autograd.backward(value)
    assert value.isfinite()
    assert logits.grad.isfinite().all()


def test_the_teacher_follows_as_an_average_with_a_ramp(term):
    """At first the mean of all weights so far, later with the decay of the options."""
    mean_teacher, backbone = term(decay=0.8)
    expected = [p.detach().clone() for p in backbone.parameters()]
    for count in range(1, 9):
        with torch.no_grad():
            for number, parameter in enumerate(backbone.parameters()):
                parameter.copy_(draw(1, parameter.numel(), 100 * count + number).view_as(parameter))
            backbone.trunk(draw(6, 4, count).float())  # moves the running statistics
            mean_teacher.after_step(backbone)
        decay = min(0.8, 1 - 1 / (1 + count))
        for number, parameter in enumerate(backbone.parameters()):
            expected[number] = decay * expected[number] + (1 - decay) * parameter.detach()
    for found, wanted in zip(mean_teacher.teacher.parameters(), expected, strict=True):
        torch.testing.assert_close(found, wanted)
    buffers = dict(backbone.named_buffers())
    assert buffers["trunk.1.num_batches_tracked"] == 8
    for name, buffer in mean_teacher.teacher.named_buffers():
        assert torch.equal(buffer, buffers[name])
    assert mean_teacher.steps == 8


def test_the_teacher_shows_no_change_of_its_own(term, views, step):
    """Its statistics are not moved by what it sees, and it drops nothing."""
    mean_teacher, _ = term(threshold=0.0, strength=0.0)
    source, target = views(draw(2, 4).float(), draw(5, 4).float(), classes=3)
    before = {name: value.clone() for name, value in mean_teacher.state_dict().items()}
    now = step()._replace(network=lambda x, domain: ({}, torch.zeros(5, 3)))
    first, second = (mean_teacher(source, target, now)[0] for _ in range(2))
    assert torch.equal(first, second)
    assert all(torch.equal(value, before[name]) for name, value in mean_teacher.state_dict().items())


def test_the_defaults_are_those_of_the_authors():
    config = MeanTeacher.Config()
    assert (config.weight, config.decay, config.threshold) == (3.0, 0.99, 0.968)


@pytest.mark.parametrize("options", [{"decay": 1.0}, {"threshold": 1.5}, {"strength": -1}])
def test_options_that_cannot_hold_are_refused(options):
    with pytest.raises(ValidationError):
        MeanTeacher.Config(**options)


RUN = {"mean-teacher": {"threshold": 0.3, "decay": 0.7}}


def test_an_interrupted_run_goes_on(check_interruption):
    check_interruption(RUN)


def test_answers_do_not_matter(check_answers):
    check_answers(RUN)


def test_the_teacher_is_what_is_evaluated(tiny, weights):
    """The scores are those of the teacher's weights, and not those of the network's."""
    result = tiny("run", RUN, epochs=6)
    chosen = recorded_experiment(result.folder)
    data = dataset(chosen)
    model = objective(chosen, data.info)
    data.standardizers.load_state_dict(below(weights(result), "standardizers."))
    model.load_state_dict(below(weights(result), "objective."))

    rows = data.splits.target.test
    answers = torch.from_numpy(data.pair.answers(rows))
    scores = [
        data.task.score(torch.from_numpy(predict(network, data.training.target, rows)), answers)
        for network in (model.loss_terms["mean-teacher"].teacher, model.backbone)
    ]
    assert result.metrics["target"]["test"] == scores[0]
    assert scores[1] != scores[0]


def below(state, prefix):
    """The part of a state whose names start alike, without that start."""
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
