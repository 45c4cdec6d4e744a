"""Correlation alignment: second moments of the features."""

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from datk.interfaces import AlignmentLoss, ConfigError, Ramp, SourceView, Step, TargetView, TermConfig
from datk.nn import centred, gram

Scale = Literal["relative", "paper"]

LEAST_RATIO = 0.1
"""Of the covariances' norms, from where on down their ratio counts no more in what is relative to them."""


def coral(source: Tensor, target: Tensor, scale: Scale = "paper", weights: Tensor | None = None) -> Tensor:
    """|C_s - C_t|_F^2 / (4 D^2) with the unbiased covariances of source [M, D] and target [N, D]; 0-d.

    With `relative` it is divided by |C_s|_F |C_t|_F, held constant, in place of 4 D^2: a number that depends
    neither on how many features there are nor on their unit. With weights [M] of the source's rows its
    covariance is the weighted one.

    Rows are centred within their domain, so that it does not matter how far apart the domains are. The
    smaller of [D, D] and [M + N, M + N] matrices are made: see `coral_of_covariances` and
    `coral_of_products`. The value is never negative. Raises `ConfigError` for a domain of one row, which has
    no covariance.
    """
    if len(source) + len(target) < source.shape[1]:
        return coral_of_products(source, target, scale, weights)
    return coral_of_covariances(source, target, scale, weights)


def coral_of_covariances(
    source: Tensor, target: Tensor, scale: Scale = "paper", weights: Tensor | None = None
) -> Tensor:
    """CORAL distance as it is written, from two matrices [D, D]."""
    source, target = _scaled(source, target, weights)
    of_source, of_target = gram(source.mT), gram(target.mT)
    value = (of_source - of_target).square().sum()
    if scale == "paper":
        return value / (4 * source.shape[1] ** 2)
    return value / _size(of_source.square().sum(), of_target.square().sum())


def coral_of_products(
    source: Tensor, target: Tensor, scale: Scale = "paper", weights: Tensor | None = None
) -> Tensor:
    """CORAL distance from the products [M + N, M + N] of all rows, where they are fewer than features.

    With the centred rows A / sqrt(M - 1) and B / sqrt(N - 1) it is
    |A^T A - B^T B|^2 = |A A^T|^2 + |B B^T|^2 - 2 |A B^T|^2.
    """
    m = len(source)
    squares = gram(torch.cat(_scaled(source, target, weights))).square()
    of_source, of_target = squares[:m, :m].sum(), squares[m:, m:].sum()
    value = of_source + of_target - 2 * squares[:m, m:].sum()
    # Equal covariances leave rounding, of either sign: what is below 0 is taken off, and the gradient stays.
    value = value - value.detach().clamp_max(0)
    if scale == "paper":
        return value / (4 * source.shape[1] ** 2)
    return value / _size(of_source, of_target)


def _size(of_source: Tensor, of_target: Tensor) -> Tensor:
    """Product of the norms of two covariances from their squares, held constant; not less than a part of the
    larger one's square, so that a domain whose features have collapsed leaves a finite value."""
    source, target = of_source.detach().sqrt(), of_target.detach().sqrt()
    least = LEAST_RATIO * torch.maximum(source, target).square()
    return torch.maximum(source * target, least).clamp_min(torch.finfo(source.dtype).tiny)


def _scaled(source: Tensor, target: Tensor, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Rows whose products with each other are the domains' covariances."""
    m, n = _two_rows(len(source), len(target))
    # Covariances do not depend on where the means are, so that these have no gradient.
    scaled_target = centred(target) / (n - 1) ** 0.5
    if weights is None:
        return centred(source) / (m - 1) ** 0.5, scaled_target
    weights = weights.to(source.dtype)
    total = weights.sum().clamp_min(torch.finfo(source.dtype).eps)
    middle = (weights[:, None] * source.detach()).sum(dim=0) / total
    degrees = (total - weights.square().sum() / total).clamp_min(1e-6)
    return (source - middle) * (weights / degrees).sqrt()[:, None], scaled_target


def _two_rows(m: int, n: int) -> tuple[int, int]:
    if min(m, n) < 2:
        raise ConfigError(
            f"CORAL needs two rows of each domain in a batch, not {m} and {n}; make batches larger"
        )
    return m, n


class CORAL(AlignmentLoss):
    """Deep CORAL: squared difference of the feature covariances of the two domains.

    Relative to the size of the covariances, so that its value means the same for any number of features in
    any unit. The paper divides by 4 D^2 for D features (`scale = paper`), which leaves next to nothing of it
    beside a classification; with that, `weight = 4` is the mean squared difference of the matrices' entries,
    which some implementations use instead.

    Reference: Sun & Saenko 2016, "Deep CORAL", equation 1.
    """

    over_batch = True

    class Config(TermConfig):
        """Options of correlation alignment."""

        scale: Scale = "relative"
        """Divide by the product of the covariances' norms, held constant, or by 4 D^2."""

        weight: float = Field(0.03, ge=0)
        """Factor with which the term acts on the backbone."""

        ramp: Ramp = "warm-up"
        """How the weight grows over training, as of every term; by default after a warm-up, so that the
        network knows the source first."""

        former: ClassVar[dict[str, Any]] = {"scale": "paper", "weight": 1.0, "ramp": "constant"}

    def forward(self, source: SourceView, target: TargetView, step: Step) -> Tensor:
        """CORAL distance of the features."""
        return coral(source.features, target.features, self.config.scale, source.weights)
