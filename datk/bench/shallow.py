"""Classifiers without a network, as baselines of networks: logistic regression of scikit-learn, with a linear
adaptation before it or none. Nothing about them is tuned.

lr          standardised by the source's constants in both domains
lr-z        each domain standardised by its own constants, as for all below
subspace    in the principal axes of each domain, those of the source aligned with the target's
coral-lr    the source's covariance made that of the target
"""

import hashlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from datk.base.errors import RunError

Floats = npt.NDArray[np.float64]

STANDARDIZED = {"lr": "source", "lr-z": "per-domain", "subspace": "per-domain", "coral-lr": "per-domain"}
"""The classifiers, and by which constants their input is standardised, as `data.standardize` says it."""

ABOUT = {
    "lr": "both domains standardised by the source's constants",
    "lr-z": "each domain standardised by its own constants",
    "subspace": "each domain standardised by its own constants; subspace alignment (Fernando et al. 2013)",
    "coral-lr": "each domain standardised by its own constants; CORAL (Sun et al. 2016)",
}
COMMON = "a logistic regression of scikit-learn with C = 1, nothing tuned"
"""What a reader of their numbers must know, of each and of all."""

C, TOLERANCE, ITERATIONS = 1.0, 1e-6, 1000
"""Inverse strength of the L2 penalty, the default of scikit-learn; the gradient at which the solver stops, a
hundredth of the default, at which probabilities may still be off by 0.1 and differ between machines; the most
steps of the solver."""

AXES = 50
"""The most principal axes of `subspace`."""

LEAST = float(np.log(np.finfo(np.float32).tiny))
"""Logarithm of the probability of a class that has no training rows."""


class Spectrum(NamedTuple):
    """Principal axes of rows, of the largest spread first, without those that cannot have any."""

    values: Floats
    """Variances along the axes [r], r = min(n - 1, D)."""
    axes: Floats
    """[D, r], orthonormal."""

    def scaled(self, x: Floats, power: float) -> Floats:
        """x (I + S)^power for rows x [n, D] and the covariance S [D, D], which is never made: there may be
        more features than fit into its square."""
        return x + ((x @ self.axes) * ((1.0 + self.values) ** power - 1.0)) @ self.axes.T


def spectrum(x: Floats) -> Spectrum:
    """The eigenvalues and eigenvectors of the covariance of rows x [n, D]."""
    rows, features = x.shape
    x = x - x.mean(axis=0)
    kept = min(rows - 1, features)
    if rows > features:
        values, axes = np.linalg.eigh(x.T @ x / (rows - 1))
        values, axes = values[::-1], axes[:, ::-1]
    else:
        _, deviations, transposed = np.linalg.svd(x, full_matrices=False)
        values, axes = deviations**2 / max(rows - 1, 1), transposed.T
    return Spectrum(values[:kept].clip(0.0), axes[:, :kept])


class _Plain:
    """Leaves rows as they are."""

    def __init__(self, source: Floats, target: Floats) -> None:
        pass

    def __call__(self, domain: str, x: Floats) -> Floats:
        return x

    def arrays(self) -> Iterator[Floats]:
        """What it has found in the training rows."""
        yield from ()


class _Subspace(_Plain):
    """Source rows in their principal axes P_s turned by P_s' P_t, target rows in P_t (Fernando et al. 2013,
    "Unsupervised Visual Domain Adaptation Using Subspace Alignment")."""

    def __init__(self, source: Floats, target: Floats) -> None:
        if min(len(source), len(target)) < 2:
            raise RunError("subspace needs two training rows of each domain at least; give more data")
        axes = [spectrum(x).axes[:, :AXES] for x in (source, target)]
        kept = min(each.shape[1] for each in axes)
        of_source, of_target = (each[:, :kept] for each in axes)
        self.axes = {"source": of_source @ (of_source.T @ of_target), "target": of_target}

    def __call__(self, domain: str, x: Floats) -> Floats:
        return x @ self.axes[domain]

    def arrays(self) -> Iterator[Floats]:
        yield from self.axes.values()


class _Coral(_Plain):
    """Source rows whitened by (I + S_s)^-1/2 and coloured by (I + S_t)^1/2, target rows as they are (Sun et
    al. 2016, "Return of Frustratingly Easy Domain Adaptation")."""

    def __init__(self, source: Floats, target: Floats) -> None:
        self.source, self.target = spectrum(source), spectrum(target)

    def __call__(self, domain: str, x: Floats) -> Floats:
        return self.target.scaled(self.source.scaled(x, -0.5), 0.5) if domain == "source" else x

    def arrays(self) -> Iterator[Floats]:
        yield from (*self.source, *self.target)


_ADAPTATIONS: dict[str, type[_Plain]] = {"subspace": _Subspace, "coral-lr": _Coral}


@dataclass(frozen=True)
class Classifier:
    """A logistic regression with what rows go through before it."""

    model: Any
    """`sklearn.linear_model.LogisticRegression`."""
    adapted: _Plain
    classes: int
    converged: bool

    def log_probabilities(self, domain: str, x: Floats) -> npt.NDArray[np.float32]:
        """Of the classes [n, K], for standardised rows x [n, D] of `source` or `target`; a class without
        training rows has next to none. Raises `RunError` where that is not finite."""
        with np.errstate(invalid="ignore", over="ignore"):
            scores = self.adapted(domain, x) @ self.model.coef_.T + self.model.intercept_
        if scores.shape[1] == 1:  # of two classes, that of the second
            scores = np.concatenate([np.zeros_like(scores), scores], axis=1)
        if bad := int((~np.isfinite(scores)).any(axis=1).sum()):
            raise RunError(
                f"its output is not finite for {bad} of {len(x)} rows of the {domain}; look for extreme "
                "values there"
            )
        log_p = torch.from_numpy(scores).log_softmax(dim=1).clamp(min=LEAST).numpy()
        whole = np.full((len(x), self.classes), LEAST, np.float32)
        whole[:, self.model.classes_] = log_p
        return whole

    @property
    def checksum(self) -> str:
        """sha256 over its numbers."""
        digest = hashlib.sha256()
        for array in (self.model.coef_, self.model.intercept_, *self.adapted.arrays()):
            digest.update(f"{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def fit(name: str, source: Floats, labels: npt.NDArray[np.int64], target: Floats, classes: int) -> Classifier:
    """Fit one of the classifiers.

    Args:
        source: training rows [n, D], standardised.
        labels: their classes [n], two of them at least.
        target: training rows [m, D], standardised.
        classes: number of all classes K.

    Raises:
        RunError: too few rows, or values that are not finite.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    for domain, x in (("source", source), ("target", target)):
        if not np.isfinite(x).all():
            raise RunError(
                f"training rows of the {domain} are not finite once standardised; look for extreme values"
            )
    adapted = _ADAPTATIONS.get(name, _Plain)(source, target)
    model = LogisticRegression(C=C, tol=TOLERANCE, max_iter=ITERATIONS)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        model.fit(adapted("source", source), labels)
    for other in caught:
        if not issubclass(other.category, ConvergenceWarning):
            warnings.warn_explicit(other.message, other.category, other.filename, other.lineno)
    converged = not any(issubclass(each.category, ConvergenceWarning) for each in caught)
    return Classifier(model, adapted, classes, converged)
