"""Maximum mean discrepancy with a sum of Gaussian kernels."""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor

from datk.interfaces import (
    AlignmentLoss,
    ConfigError,
    ModelInfo,
    Ramp,
    SourceView,
    Step,
    TargetView,
    TermConfig,
)
from datk.nn import joint_distances, squared_distances_of_two
from datk_discrepancy.blocks import block_sums

Estimator = Literal["biased", "unbiased"]
Bandwidth = Literal["fixed", "median"]
Kernels = Literal["mean", "sum"]

BANDWIDTHS: dict[Bandwidth, tuple[float, ...]] = {
    "fixed": (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1, 5, 10, 15, 20, 25, 30, 35, 100, 1e3, 1e4, 1e5, 1e6),
    "median": (0.25, 0.5, 1, 2, 4),
}
"""What is used if no bandwidths are given: those of DeepMerge II, or a few factors around the median."""

LOWEST_EXPONENT = -80.0
"""exp(-80) vanishes beside the diagonal's 1; below it, near underflow, exp is far slower on a CPU."""

AT_ONCE = 2**22
"""Kernel values that are made at a time: enough to keep a GPU busy, few enough for a CPU's cache."""


class _KernelSum(torch.autograd.Function):
    """Sum of kernels and its derivative in one pass, so that no single kernel is kept for later."""

    generate_vmap_rule = True

    @staticmethod
    def forward(distances: Tensor, bandwidths: Tensor) -> tuple[Tensor, Tensor]:
        rates = -0.5 / bandwidths
        weights = torch.stack([torch.ones_like(rates), rates])
        pairs = torch.split(distances.flatten(), max(1, AT_ONCE // len(rates)))
        kernels = ((rates[:, None] * some).clamp_min_(LOWEST_EXPONENT).exp_() for some in pairs)
        total, slope = torch.cat([weights @ some for some in kernels], dim=1)
        return total.view_as(distances), slope.view_as(distances)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: tuple[Tensor, Tensor]) -> None:
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(output[1])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        if torch.is_grad_enabled():  # the caller asked for create_graph, and the slope has no graph
            raise RuntimeError("the kernel sum of the MMD can be differentiated only once")
        (slope,) = ctx.saved_tensors
        return grads[0] * slope, None


def kernel_sum(distances: Tensor, bandwidths: Tensor) -> Tensor:
    """sum_j exp(-d / (2 s_j)) of squared distances d [...] and bandwidths s_j > 0 [J]; s stands for sigma^2.

    It can be differentiated once; a derivative with `create_graph` raises RuntimeError.
    """
    total: Tensor = _KernelSum.apply(distances, bandwidths)[0]
    return total


def median_distance(distances: Tensor) -> Tensor:
    """Median over all pairs of different rows of squared distances [N, N]; 0-d and without gradient.

    The lower of the two middle ones for an even number of pairs. At least the epsilon of the floating
    type, so that features that have all collapsed to one point can still be divided by it.
    """
    diagonal = torch.eye(len(distances), dtype=torch.bool, device=distances.device)
    pairs = distances.detach().masked_fill(diagonal, torch.nan)
    return pairs.nanmedian().clamp_min(torch.finfo(distances.dtype).eps)


def mmd(
    source: Tensor,
    target: Tensor,
    bandwidths: Sequence[float] | Tensor = BANDWIDTHS["fixed"],
    estimator: Estimator = "biased",
    bandwidth: Bandwidth = "fixed",
    weights: Tensor | None = None,
) -> Tensor:
    """Squared maximum mean discrepancy of source [M, D] and target [N, D]; 0-d.

    mean k(s, s') + mean k(t, t') - 2 mean k(s, t) with k(x, y) = sum_j exp(-|x - y|^2 / (2 s_j)) (Gretton
    et al. 2012, equations 3 and 5). The unbiased estimator leaves the pairs of a row with itself out;
    `median` multiplies every bandwidth with the median squared distance of the joined batch, held constant.
    With weights of the source's rows [M] its means are weighted ones. Needs (M + N)^2 memory beside the
    features. Raises `ConfigError` for the unbiased estimate of one row.

    In float32 a squared distance within a domain is right to about 1e-6 of the squared distances of its rows
    from the domain's mean, and one between the domains to about 1e-6 of itself and of those. So of two rows
    that lie much closer to each other than to the mean, by a factor of a thousand, the distance is lost in
    rounding: kernels whose bandwidth is below 1e-6 of the squared norms cannot tell such rows from equal
    ones.
    """
    distances = squared_distances_of_two(torch.cat([source, target]), len(source))
    return mmd_of_distances(distances, len(source), bandwidths, estimator, bandwidth, weights)


def mmd_of_distances(
    distances: Tensor,
    m: int,
    bandwidths: Sequence[float] | Tensor = BANDWIDTHS["fixed"],
    estimator: Estimator = "biased",
    bandwidth: Bandwidth = "fixed",
    weights: Tensor | None = None,
) -> Tensor:
    """`mmd` from the squared distances [M + N, M + N] of all rows, the first M of the source."""
    n = len(distances) - m
    bandwidths = torch.as_tensor(bandwidths, dtype=distances.dtype, device=distances.device)
    if bandwidth == "median":
        distances = distances / median_distance(distances)
    sums = block_sums(kernel_sum(distances, bandwidths), m, weights)
    if weights is None:
        rows = squares = distances.new_full((), m)
    else:
        rows = weights.sum().clamp_min(torch.finfo(distances.dtype).eps)
        squares = weights.square().sum()
    between = sums[0, 1] / (rows * n)
    if estimator == "biased":
        return sums[0, 0] / rows**2 + sums[1, 1] / n**2 - 2 * between
    if min(m, n) < 2:
        raise ConfigError(
            f"the unbiased MMD needs two rows of each domain in a batch, not {m} and {n}; "
            "make batches larger or take estimator = biased"
        )
    diagonal = len(bandwidths)  # every kernel is 1 between a row and itself
    # As many pairs of different rows as count; of a batch in which one row counts there is none.
    within_source = (sums[0, 0] - squares * diagonal) / (rows**2 - squares).clamp_min(1e-6)
    within_target = (sums[1, 1] - n * diagonal) / (n * (n - 1))
    return within_source + within_target - 2 * between


class MMD(AlignmentLoss):
    """Maximum mean discrepancy (MMD) between the features, with a sum of Gaussian kernels.

    By default kernels have a few bandwidths around the median distance, so that the scale of the features
    does not matter, the estimate is unbiased, and the value is the mean over the kernels, which is 2 for
    domains that are far apart.

    The term of DeepMerge II is the sum over 19 fixed bandwidths with the biased estimate (`bandwidth =
    fixed`, `kernels = sum`, `estimator = biased`, `ramp = constant`). That estimate has a floor: two batches
    of B rows of one and the same distribution give (2 / B) (19 - k) on average, with the mean k of the summed
    kernels between different rows, because every kernel is 1 between a row and itself and the narrow ones are
    0 elsewhere. For 2592 features relu(N(0, 1)) it is 0.980, 0.490, 0.245 and 0.123 at B = 32, 64, 128 and
    256, and 0.226 for 256 features at B = 128. So values at different batch sizes cannot be compared. The
    unbiased estimate is 0 on average, within 0.002 of it for the same 2592 features, and can be negative. No
    value is clamped: the paper's code raises those below 1e-4 to 1e-4, which stops their gradient.

    Reference: Gretton et al. 2012, JMLR 13, 723; Ciprijanovic et al. 2021, "DeepMerge II", MNRAS 506, 677.
    """

    over_batch = True

    class Config(TermConfig):
        """Options of the maximum mean discrepancy."""

        bandwidths: tuple[PositiveFloat, ...] | None = Field(None, min_length=1)
        """The s of the kernels exp(-d^2 / (2 s)), which are summed, so s stands for sigma^2. None takes
        the 19 of DeepMerge II, from 1e-6 to 1e6, or for `bandwidth = median` 1/4, 1/2, 1, 2 and 4."""

        bandwidth: Bandwidth = "median"
        """Take the bandwidths as they are, or times the median squared distance between the rows of a batch
        of both domains (the median heuristic of Gretton et al. 2012), so that the scale of the features
        does not matter."""

        estimator: Estimator = "unbiased"
        """Whether a row counts as its own neighbour (biased, never negative) or not (unbiased)."""

        kernels: Kernels = "mean"
        """Whether the value is the mean over the kernels, or their sum."""

        ramp: Ramp = "warm-up"
        """How the weight grows over training, as of every term; by default after a warm-up, so that the
        network knows the source first."""

        former: ClassVar[dict[str, Any]] = {
            "bandwidth": "fixed",
            "estimator": "biased",
            "kernels": "sum",
            "ramp": "constant",
        }

    bandwidths: Tensor

    def __init__(self, config: Config, model: ModelInfo) -> None:
        super().__init__(config, model)
        bandwidths = torch.tensor(config.bandwidths or BANDWIDTHS[config.bandwidth])
        self.register_buffer("bandwidths", bandwidths, persistent=False)

    def forward(self, source: SourceView, target: TargetView, step: Step) -> Tensor:
        """Squared MMD of the features."""
        value = mmd_of_distances(
            joint_distances(source, target),
            len(source.features),
            self.bandwidths,
            self.config.estimator,
            self.config.bandwidth,
            source.weights,
        )
        return value / len(self.bandwidths) if self.config.kernels == "mean" else value
