"""A third-party alignment, whole. Try it before packaging it:

datk run --align ./datk_energy.py:Energy
datk plugins check ./datk_energy.py:Energy
"""

import torch
from pydantic import Field
from torch import Tensor

from datk.interfaces import AlignmentLoss, SourceView, Step, TargetView, TermConfig


class EnergyConfig(TermConfig):
    """Options of the energy distance."""

    exponent: float = Field(1.0, gt=0, lt=2)
    """Power of the Euclidean distance."""


class Energy(AlignmentLoss):
    """Energy distance between the feature distributions of the two domains.

    2 E|s - t| - E|s - s'| - E|t - t'| over all pairs of rows, with a row's distance to itself counted as 0;
    never negative, and 0 only for equal batches.

    Reference: Szekely & Rizzo 2013, J. Stat. Plan. Inference 143, 1249.
    """

    Config = EnergyConfig
    over_batch = True

    def forward(self, source: SourceView, target: TargetView, step: Step) -> Tensor:
        """The energy distance of the features, 0-d."""

        def mean_distance(a: Tensor, b: Tensor) -> Tensor:
            return torch.cdist(a, b).clamp_min(1e-6).pow(self.config.exponent).mean()

        s, t = source.features, target.features
        return 2 * mean_distance(s, t) - mean_distance(s, s) - mean_distance(t, t)
