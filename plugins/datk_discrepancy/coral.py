"""Correlation alignment: second moments of the features."""

import torch
from torch import Tensor

from datk.interfaces import AlignmentLoss, ConfigError, SourceView, Step, TargetView
from datk.nn import centred, gram


def coral(source: Tensor, target: Tensor) -> Tensor:
    """|C_s - C_t|_F^2 / (4 D^2) with the unbiased covariances of source [M, D] and target [N, D]; 0-d.

    Rows are centred within their domain, so that it does not matter how far apart the domains are. The
    smaller of [D, D] and [M + N, M + N] matrices are made: see `coral_of_covariances` and
    `coral_of_products`. The value is never negative. Raises `ConfigError` for a domain of one row, which has
    no covariance.
    """
    if len(source) + len(target) < source.shape[1]:
        return coral_of_products(source, target)
    return coral_of_covariances(source, target)


def coral_of_covariances(source: Tensor, target: Tensor) -> Tensor:
    """CORAL distance as it is written, from two matrices [D, D]."""
    source, target = _scaled(source, target)
    difference = gram(source.mT) - gram(target.mT)
    return difference.square().sum() / (4 * source.shape[1] ** 2)


def coral_of_products(source: Tensor, target: Tensor) -> Tensor:
    """CORAL distance from the products [M + N, M + N] of all rows, where they are fewer than features.

    With the centred rows A / sqrt(M - 1) and B / sqrt(N - 1) it is
    |A^T A - B^T B|^2 = |A A^T|^2 + |B B^T|^2 - 2 |A B^T|^2.
    """
    m = len(source)
    squares = gram(torch.cat(_scaled(source, target))).square()
    value = squares[:m, :m].sum() + squares[m:, m:].sum() - 2 * squares[:m, m:].sum()
    # Equal covariances leave rounding, of either sign: what is below 0 is taken off, and the gradient stays.
    return (value - value.detach().clamp_max(0)) / (4 * source.shape[1] ** 2)


def _scaled(source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Rows whose products with each other are the domains' covariances."""
    m, n = _two_rows(len(source), len(target))
    # Covariances do not depend on where the means are, so that these have no gradient.
    return centred(source) / (m - 1) ** 0.5, centred(target) / (n - 1) ** 0.5


def _two_rows(m: int, n: int) -> tuple[int, int]:
    if min(m, n) < 2:
        raise ConfigError(
            f"CORAL needs two rows of each domain in a batch, not {m} and {n}; make batches larger"
        )
    return m, n


class CORAL(AlignmentLoss):
    """Deep CORAL: squared difference of the feature covariances of the two domains.

    The factor 1 / (4 D^2) for D features makes values small; `weight = 4` gives the mean squared
    difference of the matrices' entries, which some implementations use instead.

    Reference: Sun & Saenko 2016, "Deep CORAL", equation 1.
    """

    over_batch = True

    def forward(self, source: SourceView, target: TargetView, step: Step) -> Tensor:
        """CORAL distance of the features."""
        return coral(source.features, target.features)
