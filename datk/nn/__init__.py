"""Parts for authors of components."""

from datk.nn.distances import (
    centred,
    gram,
    joined,
    joint_distances,
    squared_distances,
    squared_distances_of_two,
)
from datk.nn.gradients import WARM_UP, ramp, reverse_gradient, scale_gradient
from datk.nn.layers import mlp, reinitialized, with_head
from datk.nn.norms import DomainBatchNorm, by_domain, of_domains
from datk.nn.transport import (
    sinkhorn_divergence,
    sinkhorn_divergence_of_distances,
    sinkhorn_plan,
    transport_cost,
)
from datk.nn.views import strong_view

__all__ = [
    "WARM_UP",
    "DomainBatchNorm",
    "by_domain",
    "centred",
    "gram",
    "joined",
    "joint_distances",
    "mlp",
    "of_domains",
    "ramp",
    "reinitialized",
    "reverse_gradient",
    "scale_gradient",
    "sinkhorn_divergence",
    "sinkhorn_divergence_of_distances",
    "sinkhorn_plan",
    "squared_distances",
    "squared_distances_of_two",
    "strong_view",
    "transport_cost",
    "with_head",
]
