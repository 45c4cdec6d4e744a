"""Loss terms alone, on features that ReLU has cut at zero, beside those of other packages."""

import warnings
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from benchmarks.speed.harness import Row, Setting, Spread, interleaved, spreads

Loss = Callable[[Tensor, Tensor], Tensor]


class Term:
    """Forward and backward of a loss of features [B, D] of two domains."""

    def __init__(self, loss: Loss, setting: Setting, batch: int, dim: int) -> None:
        generator = torch.Generator().manual_seed(0)
        features = torch.randn(2, batch, dim, generator=generator).relu().to(setting.device)
        self.loss, self.source, self.target = loss, *(z.clone().requires_grad_() for z in features)

    def __call__(self) -> None:
        """Gradients for both domains."""
        torch.autograd.grad(self.loss(self.source, self.target), [self.source, self.target])


def against_peers(
    name: str,
    own: Mapping[str, Loss],
    peers: Mapping[str, Callable[[], Loss]],
    setting: Setting,
    *,
    at_most: float,
    batch: int = 128,
    dim: int = 2592,
) -> Iterator[Row]:
    """The case `datk` of `own` over the fastest peer that is installed, repeat by repeat."""
    cases = {case: Term(loss, setting, batch, dim) for case, loss in own.items()}
    installed, missing = [], []
    for peer, make in peers.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of packages that import what is outdated
                cases[peer] = Term(make(), setting, batch, dim)
            installed.append(peer)
        except ImportError:
            missing.append(peer)
    times = interleaved(cases, setting, warm_up=5)
    value = None
    if installed:
        fastest = [min(seconds) for seconds in zip(*(times[peer] for peer in installed), strict=True)]
        value = Spread.of([mine / other for mine, other in zip(times["datk"], fastest, strict=True)])
    yield Row(
        f"{name} term, {batch} + {batch} features of {dim}, over the fastest peer",
        value,
        at_most=at_most,
        seconds=spreads(times),
        note=f"not installed: {', '.join(missing)}" if missing else "",
    )
