"""Shallow classifiers against the formulas of their papers and scikit-learn's own parts, in float64."""

import warnings

import numpy as np
import pytest
import sklearn.decomposition
from scipy.linalg import fractional_matrix_power
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression

from datk.base.errors import RunError
from datk.bench import shallow
from datk.bench.shallow import LEAST, STANDARDIZED, fit, spectrum


def domains(rows=90, features=8, classes=3, target_rows=70):
    """Standardised rows of a source with its labels, and of a target that is turned and stretched."""
    rng = np.random.default_rng(features)
    turn = np.linalg.qr(rng.normal(size=(features, features)))[0] * np.linspace(0.5, 2, features)
    labels = np.arange(rows) % classes
    means = rng.normal(size=(classes, features))
    source = means[labels] + rng.normal(size=(rows, features))
    target = (means[np.arange(target_rows) % classes] + rng.normal(size=(target_rows, features))) @ turn
    return *((x - x.mean(axis=0)) / x.std(axis=0) for x in (source, target)), labels


def naive(name, source, target):
    """Both domains as the paper of a classifier wants them."""
    if name == "subspace":
        kept = min(50, len(source) - 1, len(target) - 1, source.shape[1])
        of_source, of_target = (
            sklearn.decomposition.PCA(kept, svd_solver="full").fit(x).components_.T for x in (source, target)
        )
        return source @ of_source @ of_source.T @ of_target, target @ of_target
    if name == "coral-lr":
        whole = [np.cov(x.T) + np.eye(x.shape[1]) for x in (source, target)]
        white, colored = (
            fractional_matrix_power(c, power).real for c, power in zip(whole, (-0.5, 0.5), strict=True)
        )
        return source @ white @ colored, target
    return source, target


@pytest.mark.parametrize("features", [3, 8, 80])  # more than 50 axes, and than the target has rows
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("name", STANDARDIZED)
def test_against_formulas(name, classes, features):
    source, target, labels = domains(features=features, classes=classes)
    found = fit(name, source, labels, target, classes)
    mapped = naive(name, source, target)
    for domain, x, expected in zip(("source", "target"), (source, target), mapped, strict=True):
        np.testing.assert_allclose(_up_to_sign(found.adapted(domain, x)), _up_to_sign(expected), atol=1e-9)
    model = LogisticRegression(C=1.0, tol=1e-10, max_iter=5000).fit(mapped[0], labels)
    np.testing.assert_allclose(
        np.exp(found.log_probabilities("target", target)), model.predict_proba(mapped[1]), atol=2e-3
    )


def _up_to_sign(x):
    """Of columns, which principal axes have by chance."""
    return x * np.sign(x[np.abs(x).argmax(axis=0), np.arange(x.shape[1])])


@pytest.mark.parametrize("name", STANDARDIZED)
def test_the_same_rows_give_the_numbers_of_scikit_learn(name):
    source, target, labels = domains()
    found = fit(name, source, labels, target, 3)
    adapted = [found.adapted("source", source), found.adapted("target", target)]
    model = LogisticRegression(C=1.0, tol=1e-6, max_iter=1000).fit(adapted[0], labels)
    scores = log_softmax(model.decision_function(adapted[1]), axis=1)
    np.testing.assert_allclose(found.log_probabilities("target", target), scores, rtol=1e-6)
    assert (found.log_probabilities("target", target).argmax(axis=1) == model.predict(adapted[1])).all()


def test_axes_are_those_of_pca_with_more_features_than_rows_or_less():
    rng = np.random.default_rng(0)
    for rows, features in ((40, 6), (7, 30), (2, 3)):
        x = rng.normal(size=(rows, features))
        kept = min(rows - 1, features)
        pca = sklearn.decomposition.PCA(kept, svd_solver="full").fit(x)
        found = spectrum(x)
        np.testing.assert_allclose(found.values, pca.explained_variance_, rtol=1e-9)
        np.testing.assert_allclose(found.axes @ found.axes.T, pca.components_.T @ pca.components_, atol=1e-9)


@pytest.mark.parametrize("name", STANDARDIZED)
def test_constant_features_say_nothing(name):
    source, target, labels = domains(features=4)
    still = [np.concatenate([x, np.zeros((len(x), 3))], axis=1) for x in (source, target)]
    found = fit(name, still[0], labels, still[1], 3).log_probabilities("target", still[1])
    np.testing.assert_allclose(
        np.exp(found),
        np.exp(fit(name, source, labels, target, 3).log_probabilities("target", target)),
        atol=1e-3,
    )


@pytest.mark.parametrize("classes", [2, 3])
def test_a_class_without_training_rows_has_next_to_no_probability(classes):
    source, target, labels = domains(classes=classes)
    places = np.array([1, 4, 2])[labels]
    found = fit("lr", source, places, target, 5).log_probabilities("target", target)
    alone = fit("lr", source, np.sort(np.array([1, 4, 2])[:classes]).searchsorted(places), target, classes)
    there = np.unique(places)
    assert found.shape == (len(target), 5)
    np.testing.assert_array_equal(found[:, there], alone.log_probabilities("target", target))
    np.testing.assert_array_equal(np.delete(found, there, axis=1), np.float32(LEAST))


def test_certainty_stays_finite():
    source, target, labels = domains()
    found = fit("lr", source, labels, target, 3).log_probabilities("target", target * 1e6)
    assert np.isfinite(found).all()
    assert found.min() == np.float32(LEAST)


def test_what_is_not_finite_is_told():
    source, target, labels = domains()
    classifier = fit("lr", source, labels, target, 3)
    target[3] = np.inf
    with pytest.raises(RunError, match="not finite for 1 of 70 rows of the target"):
        classifier.log_probabilities("target", target)
    with pytest.raises(RunError, match="training rows of the target are not finite"):
        fit("lr", source, labels, target, 3)


def test_one_target_row_spans_no_subspace():
    source, target, labels = domains()
    with pytest.raises(RunError, match="two training rows of each domain"):
        fit("subspace", source, labels, target[:1], 3)


def test_a_solver_that_does_not_converge_is_no_warning_but_known(monkeypatch):
    source, target, labels = domains()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fit("lr", source, labels, target, 3).converged
        monkeypatch.setattr(shallow, "ITERATIONS", 1)
        assert not fit("lr", source, labels, target, 3).converged


def test_checksums_tell_classifiers_apart():
    source, target, labels = domains()
    checksums = [fit(name, source, labels, target, 3).checksum for name in ("lr", "subspace", "coral-lr")]
    assert len({*checksums}) == 3
    assert fit("lr", source, labels, target, 3).checksum == checksums[0]
    assert fit("coral-lr", source, labels, target * 2, 3).checksum != checksums[2]
