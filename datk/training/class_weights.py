"""Weights of the classes in the supervised loss (`train.class_weights`)."""

import torch
from torch import Tensor


def balanced(labels: Tensor, classes: int) -> Tensor:
    """Weights [K] that make up for classes of different sizes, N / (K n) for a class with n of the N rows and
    K classes that have rows, so that the mean weight of a row is 1; scikit-learn's "balanced".

    Args:
        labels: class of each training row [N].
        classes: how many there are; one without rows has weight 1, which nothing is multiplied by.

    Example:
        >>> balanced(torch.tensor([0, 0, 0, 2]), 3)
        tensor([0.6667, 1.0000, 2.0000])
    """
    rows = torch.bincount(labels.cpu(), minlength=classes).double()
    weights = len(labels) / (rows.count_nonzero() * rows.clamp(min=1))
    return torch.where(rows > 0, weights, 1.0).float()
