"""Which term of the loss a run went wrong by: found out afterwards, so that a good step pays nothing for it.

A term whose value is fine and whose gradient is not makes every parameter NaN, and in the next step every
term; none of those says where it began. The epoch is done again, with the gradient of each term by itself.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Found(Exception):  # noqa: N818  (it is what is looked for)
    """The end of the search.

    Args:
        term: whose gradient is not finite; None where a value was not, which says by itself where it began.
    """

    def __init__(self, term: str | None) -> None:
        super().__init__(term)
        self.term = term


class Culprit(NamedTuple):
    """The term that a run went wrong by, and the step, from 1."""

    term: str
    step: int


def examine(terms: Mapping[str, Tensor], trained: Sequence[nn.Parameter]) -> None:
    """Raise `Found` for the first term whose gradient is not finite, or if a value is not."""
    if not all(bool(value.isfinite()) for value in terms.values()):
        raise Found(None)
    for label, value in terms.items():
        if value.requires_grad:
            gradients = torch.autograd.grad(value, trained, retain_graph=True, allow_unused=True)
            if not all(bool(gradient.isfinite().all()) for gradient in gradients if gradient is not None):
                raise Found(label)
