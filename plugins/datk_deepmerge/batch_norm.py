"""Whose statistics the image backbones normalise by."""

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

from torch import Tensor, nn

from datk.interfaces import ComponentConfig
from datk.nn import of_domains


class BatchNormConfig(ComponentConfig):
    """Options of a backbone with batch normalisation."""

    batch_norm: Literal["joint", "by-domain"] = "joint"
    """Whether batch normalisation sees both domains at once, or has statistics and weights of its own for
    each (Chang et al. 2019)."""


def told_domains(module: nn.Module, domain: Tensor | None) -> AbstractContextManager[None]:
    """Tell the norms of a module the domain [B] of each row, if they go by it."""
    return nullcontext() if domain is None else of_domains(module, domain)
