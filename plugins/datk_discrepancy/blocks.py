"""Matrices between the rows of both domains, source first, seen as 2 x 2 blocks."""

import torch
from torch import Tensor


def indicator(matrix: Tensor, m: int) -> Tensor:
    """Whose each row of a matrix [M + N, M + N] is: [M + N, 2], a column of ones for either domain."""
    of_source = torch.arange(len(matrix), device=matrix.device) < m
    return torch.stack([of_source, ~of_source], dim=1).to(matrix.dtype)


def block_sums(matrix: Tensor, m: int) -> Tensor:
    """Sums over the blocks of a matrix [M + N, M + N]: [[ss, st], [ts, tt]]."""
    domain = indicator(matrix, m)
    return domain.T @ (matrix @ domain)
