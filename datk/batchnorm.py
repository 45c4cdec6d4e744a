"""Batch normalisation over the rows of several processes."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from datk import distributed


class _Normalize(torch.autograd.Function):
    """(x - m) / s * weight + bias of [B, C, ...] by mean and deviation over the rows of all processes, each
    of which has as many. Gives mean and variance, too, which have no gradient."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        own_mean, own_variance = torch.batch_norm_update_stats(x, None, None, 0.0)
        mean = distributed.mean(own_mean)
        variance = distributed.mean(own_variance + (own_mean - mean).square())
        normalised = torch.batch_norm(x, weight, bias, mean, variance, False, 0.0, eps, False)
        ctx.save_for_backward(x, weight, mean, (variance + eps).rsqrt())
        ctx.eps = eps
        ctx.mark_non_differentiable(mean, variance)
        return normalised, mean, variance

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, weight, mean, inverse = ctx.saved_tensors
        dy = grads[0]
        _, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            dy, x, weight, None, None, mean, inverse, True, ctx.eps, [False, True, True]
        )
        # dx = weight / s (dy - mean of dy - z (mean of dy z)) with the normalised z = (x - m) / s and means
        # over the rows of all processes; that is a dy + b x + c.
        rows = x.numel() // x.shape[1]
        mean_dy, mean_dy_z = distributed.mean(torch.stack([of_bias, of_weight]) / rows)
        a = weight * inverse
        b = -a * mean_dy_z * inverse
        c = -a * mean_dy - b * mean
        shape = (-1, *[1] * (x.ndim - 2))
        dx = torch.addcmul(torch.addcmul(c.view(shape), x, b.view(shape)), dy, a.view(shape))
        return dx, of_weight, of_bias, None


class SyncedBatchNorm(_BatchNorm):
    """Normalises by mean and variance over the equal shares of all processes, on any device.

    torch's own SyncBatchNorm knows GPUs only.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        """Any [B, C, ...] will do."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise [B, C, ...]; in evaluation mode by the running statistics, as ever."""
        if not self.training:
            return super().forward(input)
        x = input.float()  # autocast may have made it of half the precision
        weight = x.new_ones(self.num_features) if self.weight is None else self.weight
        bias = x.new_zeros(self.num_features) if self.bias is None else self.bias
        normalised, mean, variance = _Normalize.apply(x, weight, bias, self.eps)
        self._remember(mean, variance, x.numel() // x.shape[1] * distributed.size())
        result: Tensor = normalised.to(input.dtype)
        return result

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor, count: int) -> None:
        if not self.track_running_stats:
            return
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        factor = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, factor)
        self.running_var.lerp_(variance * count / max(1, count - 1), factor)


def sync_batch_norm(module: nn.Module) -> None:
    """Let every batch normalisation in a module, in place, see the rows of all processes."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
            setattr(module, name, _synced(child))
        else:
            sync_batch_norm(child)


def _synced(norm: _BatchNorm) -> nn.Module:
    on_gpu = any(tensor.is_cuda for tensor in norm.state_dict().values())
    kind = nn.SyncBatchNorm if on_gpu and dist.get_backend() == "nccl" else SyncedBatchNorm
    synced = kind(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    for name, parameter in norm.named_parameters():
        setattr(synced, name, parameter)
    for name, buffer in norm.named_buffers():
        setattr(synced, name, buffer)
    return synced.train(norm.training)
