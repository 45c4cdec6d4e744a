"""What one term decides for the whole run, and backbones that are told of domains."""

import pytest
import torch

from datk.base.errors import PluginError
from datk.config import plugins
from tests import build
from tests.build import run, run_in_two, trainer
from tests.curves import lines, same, weights
from tests.toy_methods import METHODS
from tests.toys import TOYS


def toy(kind, name):
    return plugins.load(plugins.resolve(kind, METHODS + name))


@pytest.fixture
def remembered(monkeypatch):
    """Empties the memory of a toy for this test, and gives it."""

    def empty(kind, name, attribute):
        monkeypatch.setattr(toy(kind, name), attribute, [])
        return getattr(toy(kind, name), attribute)

    return empty


# --- what one term does for all ------------------------------------------------------------------------


def test_what_is_weighed_is_what_is_learned(tmp_path):
    """Rows of class 0 do not count, so that everything is taken for class 1."""
    options = {"epochs": 8, "lr": 0.01, "pair": {"source_rows": 200}}
    weighed = run(tmp_path / "weighed", reg=[METHODS + "Weighing"], **options).metrics["source"]["test"]
    plain = run(tmp_path / "plain", **options).metrics["source"]["test"]
    assert weighed["recall"] == 1.0
    assert weighed["precision"] < 0.65
    assert plain["precision"] > 0.75


@pytest.mark.parametrize("wrapped", [False, True])
def test_the_predictor_is_what_is_selected_and_scored(wrapped, tmp_path, monkeypatch):
    shown = []
    loss = plugins.load(plugins.resolve("selector", "source-validation-loss"))

    def watched(self, source, target, original=loss.score):
        shown.append(source)
        return original(self, source, target)

    monkeypatch.setattr(loss, "score", watched)
    reg = {METHODS + "Averaged": {"wrapped": wrapped}}
    select = "source-validation-loss"
    result = run(tmp_path / "run", reg=reg, epochs=3, lr=0.05, log_every=1, select=select)
    chosen = build.experiment()
    pair = build.dataset(chosen)
    data, source = pair.training, pair.training.source
    teacher, student = (build.objective(chosen, pair.info).backbone.eval() for _ in range(2))
    teacher.load_state_dict(weights(tmp_path / "run", "objective.terms.Averaged.average."))
    student.load_state_dict(weights(tmp_path / "run"))
    x = torch.cat([x for x, _ in source.in_order(source.split.validation)])
    with torch.no_grad():
        kept = shown[result.selected_epoch - 1]
        torch.testing.assert_close(kept.logits, teacher(x))
        assert not torch.allclose(kept.logits, student(x))
        owner = student if wrapped else teacher  # a module that is no backbone has no features of its own
        torch.testing.assert_close(kept.features, owner.embed(x)["features"])
        loss_of = torch.nn.functional.cross_entropy(teacher(x).double(), data.validation_labels)
        test = torch.cat([x for x, _ in data.target.in_order(data.target.split.test)])
        p = teacher(test).softmax(dim=1)[:, 1].double()
    record = lines(tmp_path / "run", "epoch")[result.selected_epoch - 1]
    assert record["validation_loss"] == pytest.approx(float(loss_of))
    answers = torch.from_numpy(pair.pair.answers(data.target.split.test))
    brier = float((p - answers).square().mean())
    assert result.metrics["target"]["test"]["brier"] == pytest.approx(brier, abs=1e-6)


def test_planned_batches_are_what_is_trained_on(tmp_path, remembered):
    asked = remembered("alignment", "Planning", "asked")
    batches = remembered("alignment", "Planning", "batches")
    training = trainer(tmp_path / "run", METHODS + "Planning", epochs=3)
    training.fit()
    assert len(asked) == 3
    for labels, steps, batch in asked:
        assert torch.equal(labels, training.data.labels)
        assert (steps, batch) == (training.steps_per_epoch, 16)
    assert len(batches) == 3 * training.steps_per_epoch
    for step, (source, labels, target) in enumerate(batches):
        assert len(source) == 16
        assert len(target) == 5
        assert (labels == step % 2).all()
        assert torch.equal(labels, training.data.labels[source])
    first, third = batches[0], batches[4]
    assert not torch.equal(first[0], third[0])


def test_planned_batches_go_on_where_they_were(tmp_path):
    align = METHODS + "Planning"
    whole = run(tmp_path / "whole", align, epochs=4)
    assert run_in_two(tmp_path / "run", 2, align, epochs=4).weights_sha256 == whole.weights_sha256


def test_a_plan_that_cannot_be_ends_a_run_with_the_name_of_its_author(tmp_path):
    with pytest.raises(PluginError, match=r"'Planning': plan must give rows 0\.\.34 of the target"):
        run(tmp_path / "run", {METHODS + "Planning": {"plan": "beyond"}})


# --- backbones that go by domain -----------------------------------------------------------------------


@pytest.mark.parametrize("sources", [1, 2])
def test_a_backbone_is_told_the_domain_of_each_row(sources, tmp_path, remembered):
    seen = remembered("backbone", "ByDomain", "seen")
    pair = {"sources": sources, "source_rows": 60}
    result = run(
        tmp_path / "run",
        "mmd",
        [METHODS + "Consistency"],
        METHODS + "ByDomain",
        pair=pair,
        epochs=1,
        lr=1e-30,
    )
    data = build.dataset(build.experiment(pair={"name": TOYS + "Toy", **pair}, train={"batch_size": 16}))
    domains = torch.tensor(
        [-1 if d is None else d for d in (data.pair.source.domain if sources > 1 else [0] * 60)]
    )
    training = [domain for mode, domain in seen if mode]
    batches = list(data.training.batches(0))
    assert len(training) == 2 * len(batches)
    for number, (source, _) in enumerate(batches):
        rows = data.training.source.split.train[source.index]
        assert training[2 * number] == [*domains[rows].tolist(), *[sources] * 16]
        assert training[2 * number + 1] == [sources] * 16  # step.network
    validation = domains[data.training.source.split.validation].tolist()
    test = domains[data.splits.source.test].tolist()
    three, two, *evaluated = [domain for mode, domain in seen if not mode]
    assert (three, two) == ([0] * 3, [0] * 2)  # for the shapes of the layers
    adapted = [sources] * 35
    assert evaluated[:2] == [validation, adapted]  # the look at the target
    assert evaluated[2:] == [validation, validation, test, adapted, [sources] * 10]
    assert result.selected_epoch == 1


def test_each_domain_has_statistics_of_its_own(tmp_path):
    """The source's do not depend on the target, as in a network without it."""
    for shift in (1.0, 9.0):
        run(tmp_path / str(shift), METHODS + "Reading", backbone=METHODS + "ByDomain", pair={"shift": shift})
    moved = [
        {name: tensor for name, tensor in weights(tmp_path / str(shift)).items() if "norms.0" in name}
        for shift in (1.0, 9.0)
    ]
    assert len(moved[0]) == 5
    assert same(*moved)
