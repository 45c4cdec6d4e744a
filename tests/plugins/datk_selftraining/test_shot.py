import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from datk.interfaces import ConfigError, EpochRows, PairInfo, Phase, TargetBatch
from datk.runs.folder import recorded_experiment
from datk.training.checkpoints import Checkpoints
from datk_deepmerge.mlp import MLP
from datk_selftraining.shot import SHOT, centroid_labels, diversity
from tests.toys import Toy

LOGITS = torch.tensor(
    [
        [2.0, -1.0, 0.5],
        [0.0, 0.0, 0.0],
        [-3.0, 4.0, 1.0],
        [0.3, 0.2, 0.1],
        [9.0, 1.0, 2.0],
        [-1.0, -2.0, 3.0],
    ],
    dtype=torch.float64,
)


def draw(rows, dim, seed=0):
    return torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def softmax(row):
    """Probabilities of a row of logits."""
    terms = [math.exp(value) for value in row]
    return [term / sum(terms) for term in terms]


def naive_diversity(logits):
    """The formula, class by class."""
    rows = [softmax(row) for row in logits.tolist()]
    mean = [sum(p[k] for p in rows) / len(rows) for k in range(len(rows[0]))]
    return -sum(p * math.log(p) for p in mean)


def naive_labels(features, logits, rounds=2):
    """Nearest centroids by cosine distance, row by row."""
    points = np.array([[*row, 1.0] / np.linalg.norm([*row, 1.0]) for row in features.tolist()])
    rows, classes = logits.shape
    weights = np.array([softmax(row) for row in logits.tolist()])
    known = {max(range(classes), key=lambda k: row[k]) for row in logits.tolist()}
    for _ in range(rounds):
        centroids = {
            k: sum(weights[i, k] * points[i] for i in range(rows)) / weights[:, k].sum() for k in known
        }
        labels = []
        for point in points:
            distance = {
                k: 1 - point @ c / (np.linalg.norm(point) * np.linalg.norm(c)) for k, c in centroids.items()
            }
            labels.append(min(distance, key=distance.get))
        known = set(labels)
        weights = np.array([[float(label == k) for k in range(classes)] for label in labels])
    return labels


# --- the formulas --------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 3])
def test_the_diversity_is_the_formula(classes):
    value = float(diversity(LOGITS[:, :classes]))
    assert value == pytest.approx(naive_diversity(LOGITS[:, :classes]), rel=1e-12)
    assert 0 < value < math.log(classes)


@pytest.mark.parametrize(
    "logits", [torch.zeros(5, 4), 1e4 * torch.eye(4)[[0, 0, 0]], 1e4 * torch.eye(2)[[1]]]
)
def test_the_gradient_of_the_diversity_is_finite_at_collapse(logits):
    logits = logits.clone().requires_grad_()
    value = diversity(logits)
    torch.autograd.backward(value)
    assert value.isfinite()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("classes", [2, 3, 7])
@pytest.mark.parametrize("rounds", [1, 2, 4])
def test_pseudo_labels_are_those_of_the_naive_rounds(classes, rounds):
    features, logits = draw(40, 4), 2 * draw(40, classes, seed=1)
    found = centroid_labels(features, logits, rounds).tolist()
    assert found == naive_labels(features, logits, rounds)
    assert found != logits.argmax(dim=1).tolist()


def test_pseudo_labels_follow_the_features_where_predictions_are_wrong():
    """Two clouds; a few rows of each are predicted as the other class."""
    truth = torch.arange(20) % 2
    features = torch.stack([5.0 - 10 * truth, 0.1 * torch.arange(20)], dim=1)
    logits = torch.where(truth[:, None] == torch.arange(2), 2.0, 0.0)
    logits[:4] = logits[:4].flip(1)
    assert torch.equal(centroid_labels(features, logits), truth)


def test_a_class_without_rows_gets_none():
    features, logits = draw(12, 3), 3 * draw(12, 4, seed=2)
    logits[:, 2] = -50.0
    found = centroid_labels(features, logits)
    assert found.tolist() == naive_labels(features, logits)
    assert 2 not in found
    logits = torch.zeros(12, 4)
    logits[:, 1] = 200.0
    assert centroid_labels(features.float(), logits).tolist() == [1] * 12


def test_features_of_one_point_and_of_zeros_have_labels():
    for features in (torch.zeros(5, 3), torch.ones(5, 3), 1e18 * torch.ones(5, 3)):
        found = centroid_labels(features, draw(5, 3).float())
        assert len(found) == 5
        assert set(found.tolist()) <= {0, 1, 2}


# --- the term ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"diversity": 0.5, "pseudo_labels": 2.0}, {"pseudo_labels": 0.0}])
@pytest.mark.parametrize("classes", [2, 3])
def test_the_value_is_the_formula(options, classes, model, views, step):
    logits = LOGITS[:, :classes].clone().requires_grad_()
    source, target = views(torch.zeros(0, 4), torch.zeros(6, 4), target_logits=logits, classes=classes)
    term = SHOT(SHOT.Config(**options), model(classes=classes))
    index = torch.tensor([7, 3, 99, 0, 50, 4])
    labels = [1, 0, 1, 1, 0, 1]
    term.labels[index] = torch.tensor(labels)

    value, logged = term(source, replace(target, index=index), step())

    p = [softmax(row) for row in logits.tolist()]
    entropy = sum(-sum(q * math.log(q) for q in row) for row in p) / 6
    learned = sum(-math.log(row[label]) for row, label in zip(p, labels, strict=True)) / 6
    config = term.config
    spread = naive_diversity(logits.detach())
    assert value.item() == pytest.approx(
        entropy - config.diversity * spread + config.pseudo_labels * learned, rel=1e-12
    )
    assert logged["entropy"].item() == pytest.approx(entropy, rel=1e-12)
    assert logged["diversity"].item() == pytest.approx(spread, rel=1e-12)
    agree = sum(max(range(classes), key=lambda k: row[k]) == y for row, y in zip(p, labels, strict=True))
    assert logged["agreement"].item() == pytest.approx(agree / 6)
    torch.autograd.backward(value)
    assert logits.grad.isfinite().all()
    assert logits.grad.abs().sum() > 0


def test_the_defaults_are_those_of_the_authors_and_the_phase_is_source_free():
    assert (SHOT.Config().diversity, SHOT.Config().pseudo_labels) == (1.0, 0.3)
    assert SHOT.phases == (Phase("target", updates=("trunk",), supervised=False, passes=("target",)),)
    assert SHOT.needs_init
    assert SHOT.over_batch


def test_labels_stand_in_the_order_of_the_index(model):
    """Found in batches as of the whole, and none of the source's rows are asked for."""
    torch.manual_seed(0)  # first weights by which there are rows of several classes
    backbone = MLP(MLP.Config(hidden=(5,)), PairInfo((6,), ("a", "b", "c"))).eval()
    term = SHOT(SHOT.Config(), model(dim=5, classes=3))
    x = draw(100, 6).float()

    class Unread:
        def __iter__(self):
            raise AssertionError("the source is read")

    parts = [
        TargetBatch(*(t[k : k + 30] for t in (x, torch.arange(100), torch.ones(100))))
        for k in (0, 30, 60, 90)
    ]
    with torch.no_grad():
        term.on_epoch_start(backbone, EpochRows(Unread(), parts))
        features = backbone.embed(x)["features"]
        expected = centroid_labels(features, backbone.head(features))
    assert torch.equal(term.labels, expected)
    assert len(set(expected.tolist())) > 1


# --- runs ----------------------------------------------------------------------------------------------


@pytest.fixture
def source(tiny):
    """A run on the source alone, to start from."""
    return tiny("source", "none", epochs=6)


def test_it_wants_a_run_to_start_from(tiny):
    with pytest.raises(ConfigError, match="init"):
        tiny("shot", "shot")


def test_no_source_row_passes_and_the_head_stays(tiny, source, weights, monkeypatch):
    """What the trunk is shown while it trains and while pseudo-labels are found are target rows, all of the
    training rows and no others; those of the source are shown for scores alone, and none of its training
    rows."""
    shown, embed = {True: [], False: []}, MLP.embed

    def recorded(self, x):
        shown[self.training].append(x.detach().clone())
        return embed(self, x)

    monkeypatch.setattr(MLP, "embed", recorded)
    result = tiny("shot", "shot", init=source.folder)

    pair = Toy(recorded_experiment(result.folder).pair.config)
    splits = np.load(result.folder / "splits.npz")
    state = Checkpoints(result.folder).load_selected()

    def standardized(domain, part):
        mean, std = (state[f"standardizers.{domain}.{name}"] for name in ("mean", "std"))
        x = torch.from_numpy(getattr(pair, domain).x[np.sort(splits[f"{domain}_{part}"])])
        return {tuple(row) for row in ((x - mean) / std).tolist()}

    trained = {tuple(row) for x in shown[True] for row in x.tolist()}
    seen = trained | {tuple(row) for x in shown[False] for row in x.tolist()}
    assert trained
    assert trained <= standardized("target", "train")
    assert standardized("target", "train") <= seen
    assert standardized("source", "validation") <= seen
    assert not standardized("source", "train") & seen

    before, after = weights(source), weights(result)
    names = [name for name in before if name.startswith("objective.backbone.")]
    same = {name for name in names if torch.equal(before[name], after[name])}
    assert same == {name for name in names if ".head." in name}
    assert same


def test_an_epoch_goes_once_over_the_target(tiny, source):
    """Its 35 training rows are three batches of 16, the 28 of the source would be two."""
    result = tiny("shot", "shot", init=source.folder)
    lines = (result.folder / "metrics.jsonl").read_text().splitlines()
    assert sum('"kind": "step"' in line for line in lines) == 6
    assert all(f'"shot.{name}"' in lines[0] for name in ("entropy", "diversity", "agreement"))
    assert '"classification"' not in lines[0]


def test_an_interrupted_run_goes_on(check_interruption, source):
    check_interruption("shot", init=source.folder)


def test_answers_do_not_matter(check_answers, source):
    check_answers("shot", init=source.folder)


def test_a_run_on_other_rows_can_start_from_one_of_shot(tiny, source):
    """What is saved does not depend on the number of rows."""
    first = tiny("first", "shot", init=source.folder)
    assert tiny("second", "shot", pair={"target_rows": 70}, init=first.folder).epochs == 2
