"""Batch normalisation with statistics of its own for every domain."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

TORCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class DomainBatchNorm(nn.Module):
    """Domain-specific batch normalisation (Chang et al. 2019): mean, variance, scale and shift of each
    domain.

    Rows are [B, C] or [B, C, ...]; `of_domains` says which domain each is of. In training a row is normalised
    by the statistics of its domain's rows in the batch, in evaluation by the running ones of its domain. A
    domain without rows in a batch keeps its statistics; one that never had any, as the target of a
    source-only run, is evaluated as the first domain. Of several processes each sees its own share of a
    batch.

    All is computed in the type of the weights, float32 also under autocast. In training it can be
    differentiated once.

    Args:
        domains: how many there are.
        channels: C.
        eps: added to a variance, as torch does.
        momentum: share of a batch in the running statistics.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, domains: int, channels: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight = nn.Parameter(torch.ones(domains, channels))
        self.bias = nn.Parameter(torch.zeros(domains, channels))
        self.register_buffer("running_mean", torch.zeros(domains, channels))
        self.register_buffer("running_var", torch.ones(domains, channels))
        self.register_buffer("num_batches_tracked", torch.zeros(domains, dtype=torch.int64))
        self.domain: Tensor | None = None
        """[B] of the rows that pass, set by `of_domains`."""

    def extra_repr(self) -> str:
        """Sizes and settings, for print."""
        domains, channels = self.weight.shape
        return f"{domains}, {channels}, eps={self.eps}, momentum={self.momentum}"

    def forward(self, input: Tensor) -> Tensor:
        """Normalise [B, C, ...]. Raises `RuntimeError` outside of `of_domains`, or if that was told of
        another number of rows."""
        if self.domain is None:
            raise RuntimeError("batch normalisation by domain must be told the domains of its rows")
        if len(self.domain) != len(input):
            raise RuntimeError(f"{len(input)} rows, but the domains of {len(self.domain)} were told")
        with torch.autocast(input.device.type, enabled=False):
            x = input.to(self.weight.dtype)
            images = x if x.ndim > 2 else x[:, :, None]
            normalised = (self._by_batch if self.training else self._by_past)(images, self.domain)
            return normalised.view_as(x).to(input.dtype)

    def _by_batch(self, x: Tensor, domain: Tensor) -> Tensor:
        """By the statistics of the batch, which the running ones follow."""
        numbers = torch.arange(len(self.weight), device=x.device)
        rows = (numbers[:, None] == domain).to(x.dtype)
        normalised, mean, variance = _Normalize.apply(x, self.weight, self.bias, domain, rows, self.eps)
        with torch.no_grad():
            count = rows.sum(dim=1, keepdim=True)
            n = count * x.shape[2:].numel()
            step = self.momentum * (count > 0).to(x.dtype)
            self.running_mean.lerp_(mean, step)
            self.running_var.lerp_(variance * (n / (n - 1).clamp_min(1)), step)  # unbiased, as torch's
            self.num_batches_tracked += (count > 0).squeeze(1)
        result: Tensor = normalised
        return result

    def _by_past(self, x: Tensor, domain: Tensor) -> Tensor:
        """By the running statistics; those of the first domain for one that training never showed."""
        mean, variance, weight, bias = (
            torch.where(self.num_batches_tracked[:, None] > 0, own, own[:1])
            for own in (self.running_mean, self.running_var, self.weight, self.bias)
        )
        factor = weight * (variance + self.eps).rsqrt()
        return x * _of_rows(factor, domain, x) + _of_rows(bias - mean * factor, domain, x)


def _of_rows(table: Tensor, domain: Tensor, x: Tensor) -> Tensor:
    """The line of each row's domain in a table [domains, C], to go with rows x [B, C, ...]."""
    return table[domain].view(*x.shape[:2], *[1] * (x.ndim - 2))


class _Normalize(torch.autograd.Function):
    """Normalises the rows of each domain. The way back is written out, because autograd's would need twice
    as many passes over the pixels.

    Args:
        x: [B, C, ...].
        weight, bias: [domains, C].
        domain: number of each row's [B].
        rows: 1 where a row is of a domain, else 0 [domains, B].

    Returns:
        x normalised; mean and variance of each domain [domains, C], without gradient.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, domain: Tensor, rows: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        pixels = tuple(range(2, x.ndim))
        share = rows / rows.sum(dim=1, keepdim=True).clamp_min(1)
        # All rows have the same number of pixels, so that the mean of their means is that of all pixels.
        mean = share @ x.mean(dim=pixels)
        centred = x - _of_rows(mean, domain, x)
        variance = share @ centred.square().mean(dim=pixels)
        inverse = (variance + eps).rsqrt()
        normalised = (centred * _of_rows(weight * inverse, domain, x)).add_(_of_rows(bias, domain, x))
        ctx.save_for_backward(centred, weight, inverse, domain, rows, share)
        ctx.mark_non_differentiable(mean, variance)
        return normalised, mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        centred, weight, inverse, domain, rows, share = ctx.saved_tensors
        grad, pixels = grads[0], tuple(range(2, centred.ndim))
        # With the deviations z = centred * inverse the gradient for x is
        # weight * inverse * (grad - mean grad - z * mean(grad * z)), with means over a domain's pixels.
        summed, product = grad.sum(dim=pixels), (grad * centred).sum(dim=pixels)
        size = centred.shape[2:].numel()
        factor = weight * inverse
        shift = factor * (share @ summed) / size
        slope = factor * inverse.square() * (share @ product) / size
        back = (grad * _of_rows(factor, domain, grad)).sub_(_of_rows(shift, domain, grad))
        back.addcmul_(centred, _of_rows(slope, domain, grad), value=-1)
        return back, inverse * (rows @ product), rows @ summed, None, None, None


def by_domain(module: nn.Module, domains: int) -> nn.Module:
    """The module with `DomainBatchNorm` in place of torch's batch normalisations, changed in place.

    Every domain starts from the weights and running statistics of what was there.

    Args:
        module: with batch normalisations anywhere within, or one itself; then the result is its replacement.
        domains: how many there are.

    Raises:
        TypeError: a kind of batch normalisation that does more than torch's, which would be lost, or one
            without weights or running statistics.
    """
    return _replaced(module, domains, "batch normalisation", {})


def _replaced(module: nn.Module, domains: int, name: str, done: dict[nn.Module, nn.Module]) -> nn.Module:
    """The replacement of a module; of one that stands in several places always the same."""
    if module not in done:
        if isinstance(module, _BatchNorm):
            done[module] = _of_every_domain(module, domains, name)
        else:
            done[module] = module
            for child_name, child in module._modules.items():
                if child is not None:
                    module._modules[child_name] = _replaced(child, domains, child_name, done)
    return done[module]


def _of_every_domain(norm: _BatchNorm, domains: int, name: str) -> DomainBatchNorm:
    if type(norm) not in TORCH_NORMS:
        raise TypeError(f"'{name}' is {type(norm).__name__}, which cannot be made one for every domain")
    if not (norm.affine and norm.track_running_stats and norm.momentum is not None):
        raise TypeError(f"'{name}' is batch normalisation without weights or running statistics")
    result = DomainBatchNorm(domains, norm.num_features, norm.eps, norm.momentum)
    result.to(device=norm.weight.device, dtype=norm.weight.dtype).train(norm.training)
    with torch.no_grad():
        for key, value in norm.state_dict().items():
            result.state_dict()[key].copy_(value)
    return result


@contextmanager
def of_domains(module: nn.Module, domain: Tensor) -> Iterator[None]:
    """Tell every `DomainBatchNorm` in a module the domain [B] of the rows that pass within the block."""
    norms = [part for part in module.modules() if isinstance(part, DomainBatchNorm)]
    for norm in norms:
        norm.domain = domain
    try:
        yield
    finally:
        for norm in norms:
            norm.domain = None
