"""Batch normalisation over the rows of several processes."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from datk import distributed


class _MeanOverRanks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return distributed.mean(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return distributed.mean(grads[0])


def _mean_over_ranks(x: Tensor) -> Tensor:
    result: Tensor = _MeanOverRanks.apply(x)
    return result


class SyncedBatchNorm(_BatchNorm):
    """Normalises by mean and variance over the equal shares of all processes, on any device.

    torch's own SyncBatchNorm, which is faster, knows GPUs only.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        """Any [B, C, ...] will do."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise [B, C, ...]; in evaluation mode by the running statistics, as ever."""
        if not self.training:
            return super().forward(input)
        dims = [0, *range(2, input.ndim)]
        shape = [1, -1, *[1] * (input.ndim - 2)]
        mean = _mean_over_ranks(input.mean(dim=dims))
        centred = input - mean.view(shape)
        variance = _mean_over_ranks(centred.square().mean(dim=dims))
        self._remember(mean.detach(), variance.detach(), input.numel() // input.shape[1] * distributed.size())
        normalised = centred * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            normalised = normalised * self.weight.view(shape) + self.bias.view(shape)
        return normalised

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
