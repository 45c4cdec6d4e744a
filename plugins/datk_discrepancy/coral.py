"""Correlation alignment: second moments of the features."""

import torch
from torch import Tensor

from datk.interfaces import AlignmentLoss, ConfigError, SourceView, Step, TargetView
from datk.nn import gram, joined, joint_distances, squared_distances
from datk_discrepancy.blocks import indicator


def coral(source: Tensor, target: Tensor) -> Tensor:
    """|C_s - C_t|_F^2 / (4 D^2) with the unbiased covariances of source [M, D] and target [N, D]; 0-d.

    The smaller of [D, D] and [M + N, M + N] matrices are made: see `coral_of_covariances` and
    `coral_of_distances`. Raises `ConfigError` for a domain of one row, which has no covariance.
    """
    dim, rows = source.shape[1], torch.cat([source, target])
    if len(rows) < dim:
        return coral_of_distances(squared_distances(rows), len(source), dim)
    return coral_of_covariances(source, target)


def coral_of_covariances(source: Tensor, target: Tensor) -> Tensor:
    """CORAL distance as it is written, from two matrices [D, D]."""
    m, n = _two_rows(len(source), len(target))
    # Covariances do not depend on where the means are, so that these have no gradient.
    source, target = source - source.detach().mean(dim=0), target - target.detach().mean(dim=0)
    difference = gram(source.mT) / (m - 1) - gram(target.mT) / (n - 1)
    return difference.square().sum() / (4 * source.shape[1] ** 2)


def coral_of_distances(distances: Tensor, m: int, dim: int) -> Tensor:
    """CORAL distance from the squared distances [M + N, M + N] of all rows, the first M of the source.

    With the rows z_i centred on their domain's mean and w_i = 1 / (M - 1) for the source's, -1 / (N - 1) for
    the target's, C_s - C_t = sum_i w_i z_i z_i^T, whose squared norm is sum_ij w_i w_j (z_i . z_j)^2. The
    products z_i . z_j are the distances, centred on both sides within the domains, times -1/2.
    """
    m, n = _two_rows(m, len(distances) - m)
    domain = indicator(distances, m)
    share = domain / domain.sum(dim=0)
    to_means = distances @ share @ domain.T
    products = (distances - to_means - to_means.T + domain @ (share.T @ distances @ share) @ domain.T) / -2
    w = domain[:, 0] / (m - 1) - domain[:, 1] / (n - 1)
    return (w @ products.square() @ w) / (4 * dim**2)


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
        rows, dim = joined(source, target).shape
        if rows < dim:
            return coral_of_distances(joint_distances(source, target), len(source.features), dim)
        return coral_of_covariances(source.features, target.features)
