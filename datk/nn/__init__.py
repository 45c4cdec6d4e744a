"""Parts for authors of components."""

from datk.nn.distances import gram, joined, joint_distances, squared_distances
from datk.nn.gradients import ramp, reverse_gradient, scale_gradient
from datk.nn.layers import mlp

__all__ = [
    "gram",
    "joined",
    "joint_distances",
    "mlp",
    "ramp",
    "reverse_gradient",
    "scale_gradient",
    "squared_distances",
]
