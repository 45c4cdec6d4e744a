"""What several processes that train one model tell each other: rows, gradients, buffers.

In a single process everything here gives back what it was given.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from datk.base.errors import ConfigError
from datk.base.processes import rank, size
from datk.interfaces import SourceView, TargetView


def mean(values: Tensor) -> Tensor:
    """Mean over the processes, without gradient."""
    if size() > 1:
        values = values.clone()
        dist.all_reduce(values)
        values /= size()
    return values


def average_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Give every process the mean of all gradients, in one message."""
    if size() == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = mean(torch.cat([gradient.flatten() for gradient in gradients]))
    lengths = [gradient.numel() for gradient in gradients]
    for gradient, averaged in zip(gradients, torch.split(flat, lengths), strict=True):
        gradient.copy_(averaged.view_as(gradient))


def sync_batch_norm(module: nn.Module, note: Callable[[str], None]) -> None:
    """Let batch normalisation see the rows of all processes, in place, on GPUs; on CPUs each process goes on
    with its share, which a note says.

    Raises:
        ConfigError: a kind of batch normalisation that does more than torch's; what it does would be lost.
    """
    norms = [child for child in module.modules() if isinstance(child, _BatchNorm)]
    if not norms:
        return
    if dist.get_backend() != "nccl":
        note("on CPUs batch normalisation sees each process's share of a batch, not the whole")
        return
    for norm in norms:
        if type(norm) not in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm):
            raise ConfigError(
                f"{type(norm).__name__} cannot see the rows of all processes; "
                "set train.sync_batch_norm=false to let each normalise its share"
            )
    nn.SyncBatchNorm.convert_sync_batchnorm(module)  # type: ignore[no-untyped-call]


def share_buffers(module: nn.Module) -> None:
    """Give every process the buffers of the first: statistics of its own rows would drift apart."""
    if size() > 1:
        for buffer in module.buffers():
            dist.broadcast(buffer, 0)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        everyone = [torch.empty_like(x) for _ in range(size())]
        dist.all_gather(everyone, x.contiguous())
        return torch.cat(everyone)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        # All compute the same term of the same rows, so that the gradient of one's own needs no message. It
        # is the whole gradient, of which averaging would leave a part.
        return grads[0].chunk(size())[rank()] * size()


def _gather(x: Tensor) -> Tensor:
    result: Tensor = _Gather.apply(x)
    return result


def everyones(source: SourceView, target: TargetView) -> tuple[SourceView, TargetView]:
    """Views of the rows of all processes: the views of the whole batch."""
    if size() == 1:
        return source, target
    shared: dict[Any, Tensor] = {}

    def common(view: SourceView | TargetView) -> dict[str, Any]:
        layers = {name: _gather(layer) for name, layer in view.layers.items()}
        return {
            "x": _gather(view.x),
            "index": _gather(view.index),
            "domain": _gather(view.domain),
            "features": layers["features"],
            "logits": _gather(view.logits),
            "layers": layers,
            "shared": shared,
        }

    weights = None if source.weights is None else _gather(source.weights)
    everyones_source = replace(source, **common(source), labels=_gather(source.labels), weights=weights)
    return everyones_source, replace(target, **common(target))


def put_together(part: Tensor, lengths: Sequence[int]) -> Tensor:
    """The parts of all processes [n, ...], one after another."""
    padded = part.new_zeros(max(lengths), *part.shape[1:])
    padded[: len(part)] = part
    everyone = [torch.empty_like(padded) for _ in lengths]
    dist.all_gather(everyone, padded)
    return torch.cat([theirs[:n] for theirs, n in zip(everyone, lengths, strict=True)])
