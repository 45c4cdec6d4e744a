"""The synthetic pair: what it promises of its shapes, its groups, and the difference between its domains."""

import numpy as np
import pytest
from pydantic import ValidationError
from sklearn.metrics import roc_auc_score

from datk_galaxies.mock_mergers import MockMergers


def make(**options):
    return MockMergers(MockMergers.Config(**options))


@pytest.fixture(scope="module")
def pair():
    return make(images=400)


def test_shapes_types_and_values(pair):
    for samples in (pair.source, pair.target):
        assert samples.x.shape == (400, 3, 75, 75)
        assert samples.x.dtype == np.float32
        assert np.isfinite(samples.x).all()
    assert pair.source_labels.dtype == np.int64


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others():
    first, again, other = make(images=40, seed=3), make(images=40, seed=3), make(images=40, seed=4)
    for one, same, different in ((p.source.x, q.source.x, r.source.x) for p, q, r in [(first, again, other)]):
        assert one.tobytes() == same.tobytes()
        assert not np.array_equal(one, different)
    assert first.target.x.tobytes() == again.target.x.tobytes()


def test_groups_are_systems_shared_by_both_domains(pair):
    assert pair.shared_groups
    assert np.array_equal(pair.source.groups, pair.target.groups)
    _, counts = np.unique(pair.source.groups, return_counts=True)
    assert (counts == 4).all()
    for group in np.unique(pair.source.groups):
        assert len(np.unique(pair.source_labels[pair.source.groups == group])) == 1


def test_the_last_system_may_have_fewer_images():
    pair = make(images=50, cameras=4)
    assert len(pair.source.x) == len(pair.source.groups) == 50
    assert np.count_nonzero(pair.source.groups == pair.source.groups[-1]) == 2


def test_half_are_mergers_and_both_domains_show_the_same_systems(pair):
    assert pair.source_labels.mean() == pytest.approx(0.5, abs=0.01)
    rows = np.arange(400)
    assert np.array_equal(pair.answers(rows), pair.source_labels)
    assert np.array_equal(pair.answers(rows[5:9]), pair.source_labels[5:9])
    centre = slice(20, 55)
    source, target = (s.x[..., centre, centre].sum(axis=(1, 2, 3)) for s in (pair.source, pair.target))
    assert np.corrcoef(source, target)[0, 1] > 0.7


def test_the_target_is_fainter_noisier_and_more_blurred(pair):
    source, target = pair.source.x, pair.target.x
    assert target.sum() < 0.7 * source.sum()  # light falls with the distance squared: 1 / 1.69

    def sky(x):
        corner = x[:, :, :8, :8]
        return 1.4826 * np.median(np.abs(corner - np.median(corner)))

    assert sky(target) == pytest.approx(3 * sky(source), rel=0.25)

    def sharpness(x):
        bright = x[np.arange(400), 1]
        return np.median(bright.max(axis=(1, 2)) / bright[:, 25:50, 25:50].sum(axis=(1, 2)))

    assert sharpness(target) < sharpness(source)


def test_no_single_number_gives_the_class_away(pair):
    """Total light, peak and borders differ between the classes less than their scatter: over 100 systems the
    standard error of an AUC of 0.5 is 0.06, and three of them bound chance."""
    x = pair.source.x
    border = np.concatenate([x[..., 0, :], x[..., -1, :], x[..., 0], x[..., -1]], axis=-1)
    for number in (x.sum(axis=(1, 2, 3)), border.mean(axis=(1, 2)), border.std(axis=(1, 2))):
        assert abs(roc_auc_score(pair.source_labels, number) - 0.5) < 0.18


@pytest.mark.parametrize(
    "options",
    [
        {"images": 39},
        {"cameras": 0},
        {"pixels": 8},
        {"target_distance": 0.5},
        {"target_seeing": 0.0},
        {"target_noise": -1.0},
        {"seed": -1},
        {"depth": 3.0},
    ],
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValidationError):
        MockMergers.Config(**options)


def test_the_notes_say_that_it_is_synthetic():
    assert any("synthetic" in note for note in MockMergers.notes)
    assert "SYNTHETIC" in MockMergers.__doc__
