"""Matrices between the rows of both domains, source first, seen as 2 x 2 blocks."""

import torch
from torch import Tensor


def indicator(matrix: Tensor, m: int) -> Tensor:
    """Whose each row of a matrix [M + N, M + N] is: [M + N, 2], a column of ones for either domain."""
    of_source = torch.arange(len(matrix), device=matrix.device) < m
    return torch.stack([of_source, ~of_source], dim=1).to(matrix.dtype)


def block_sums(matrix: Tensor, m: int, weights: Tensor | None = None) -> Tensor:
    """Sums over the blocks of a matrix [M + N, M + N]: [[ss, st], [ts, tt]].

    weights: of the source's rows [M], with which rows and columns are multiplied.
    """
    domain = indicator(matrix, m)
    if weights is not None:
        domain[:m, 0] = weights.to(domain.dtype)
    return domain.T @ (matrix @ domain)
