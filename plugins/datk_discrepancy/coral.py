"""Correlation alignment: second moments of the features."""

import torch
from torch import Tensor

from datk.errors import ConfigError
from datk.interfaces import AlignmentLoss, SourceView, Step, TargetView


def coral(source: Tensor, target: Tensor) -> Tensor:
    """|C_s - C_t|_F^2 / (4 D^2) with the unbiased covariances of source [M, D] and target [N, D]; 0-d.

    With the centred rows Z of both domains and w = 1 / (M - 1) for the source's, -1 / (N - 1) for the
    target's, C_s - C_t = Z^T diag(w) Z, and its squared norm is also sum_ij w_i w_j (z_i . z_j)^2. The
    smaller of the two matrices, [D, D] or [M + N, M + N], is the one that is made. Raises `ConfigError`
    for a domain of one row, which has no covariance.
    """
    (m, dim), n = source.shape, len(target)
    if min(m, n) < 2:
        raise ConfigError(
            f"CORAL needs two rows of each domain in a batch, not {m} and {n}; make batches larger"
        )
    z = torch.cat([source - source.mean(dim=0), target - target.mean(dim=0)])
    w = torch.cat([source.new_full((m,), 1 / (m - 1)), target.new_full((n,), -1 / (n - 1))])
    norm = w @ (z @ z.T).square() @ w if m + n < dim else (z.T @ (w[:, None] * z)).square().sum()
    return norm / (4 * dim**2)


class CORAL(AlignmentLoss):
    """Deep CORAL: squared difference of the feature covariances of the two domains.

    The factor 1 / (4 D^2) for D features makes values small; `weight = 4` gives the mean squared
    difference of the matrices' entries, which some implementations use instead.

    Reference: Sun & Saenko 2016, "Deep CORAL", equation 1.
    """

    def forward(self, source: SourceView, target: TargetView, step: Step) -> Tensor:
        """CORAL distance of the features."""
        return coral(source.features, target.features)
