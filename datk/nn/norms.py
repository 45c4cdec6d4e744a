"""Batch normalisation with statistics of its own for every domain."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

TORCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class DomainBatchNorm(nn.Module):
    """Domain-specific batch normalisation (Chang et al. 2019): mean, variance, scale and shift of each
    domain.

    Rows are [B, C] or [B, C, ...]; which domain each is of says `of_domains`. In training a row is
    normalised by the statistics of its domain's rows in the batch, in evaluation by the running ones of its
    domain, also of a source. A domain without rows in a batch keeps its statistics. Several processes each
    see their share.

    Args:
        domains: how many there are.
        channels: C.
        eps, momentum: as torch's.
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

    def forward(self, input: Tensor) -> Tensor:
        """Normalise [B, C, ...]. Raises `RuntimeError` outside of `of_domains`."""
        if self.domain is None:
            raise RuntimeError("batch normalisation by domain must be told the domains of its rows")
        x = input.float()  # autocast may have made it of half the precision
        if self.training:
            mean, variance = self._of_batch(x, self.domain)
        else:
            mean, variance = self.running_mean, self.running_var
        factor = self.weight * (variance + self.eps).rsqrt()
        shift = self.bias - mean * factor
        shape = (*x.shape[:2], *[1] * (x.ndim - 2))
        normalised = torch.addcmul(shift[self.domain].view(shape), x, factor[self.domain].view(shape))
        return normalised.to(input.dtype)

    def _of_batch(self, x: Tensor, domain: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance [domains, C] over the rows of each domain; keeps them.

        From each row's own mean and variance over its pixels: exact, stable, and nothing has to be sorted
        out.
        """
        pixels = x[0, 0].numel()
        flat = x.flatten(2) if x.ndim > 2 else x[:, :, None]
        variance, mean = torch.var_mean(flat, dim=2, correction=0)
        rows = nn.functional.one_hot(domain, len(self.weight)).to(x.dtype).mT  # [domains, B]
        count = rows.sum(dim=1, keepdim=True)
        share = rows / count.clamp_min(1)
        means = share @ mean
        variances = share @ (variance + (mean - means[domain]).square())
        with torch.no_grad():
            n = count * pixels
            there = count > 0
            step = torch.where(there, self.momentum, 0.0)
            unbiased = variances * (n / (n - 1).clamp_min(1))
            self.running_mean.lerp_(torch.where(there, means, self.running_mean), step)
            self.running_var.lerp_(torch.where(there, unbiased, self.running_var), step)
            self.num_batches_tracked += there.squeeze(1)
        return means, variances


def by_domain(module: nn.Module, domains: int) -> nn.Module:
    """The module with `DomainBatchNorm` in place of torch's batch normalisations, which start from the same
    weights in every domain; changed in place.

    Raises:
        TypeError: a kind of batch normalisation that does more than torch's; what it does would be lost.
    """
    for name, child in module.named_children():
        if type(child) in TORCH_NORMS:
            assert isinstance(child, _BatchNorm)
            if not (child.affine and child.track_running_stats and child.momentum is not None):
                raise TypeError(f"'{name}' is batch normalisation without weights or running statistics")
            norm = DomainBatchNorm(domains, child.num_features, child.eps, child.momentum)
            with torch.no_grad():
                norm.weight.copy_(child.weight.expand(domains, -1))
                norm.bias.copy_(child.bias.expand(domains, -1))
            setattr(module, name, norm)
        elif isinstance(child, _BatchNorm):
            raise TypeError(f"'{name}' is {type(child).__name__}, which cannot be made one for every domain")
        else:
            by_domain(child, domains)
    return module


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
