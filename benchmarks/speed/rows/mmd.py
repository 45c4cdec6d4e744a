"""The MMD term alone: 19 kernels, forward and backward, 128 + 128 features of 2592."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from benchmarks.speed import naive
from benchmarks.speed.harness import Row, Setting
from benchmarks.speed.terms import Loss, against_peers
from datk_discrepancy.mmd import BANDWIDTHS, mmd

WIDTHS = BANDWIDTHS["fixed"]


def measure(setting: Setting) -> Iterator[Row]:
    """Peers sum kernels of all pairs, as datk does: pytorch-adapt the same ones, skada those of the distance
    in place of its square. pytorch-adapt's other estimate, from B / 2 pairs only, is left out."""
    bandwidths = torch.tensor(WIDTHS, device=setting.device)
    own: dict[str, Loss] = {"datk": lambda s, t: mmd(s, t, bandwidths), "naive": naive.mmd}
    peers: dict[str, Callable[[], Loss]] = {"pytorch-adapt": pytorch_adapt, "skada": skada}
    yield from against_peers("mmd", own, peers, setting, at_most=0.7)


def pytorch_adapt() -> Loss:
    """Its MMDLoss with the same kernels."""
    from pytorch_adapt.layers import MMDLoss

    loss: Loss = MMDLoss(torch.tensor([0.5 / s for s in WIDTHS]), mmd_type="quadratic", bandwidth=1)
    return loss


def skada() -> Loss:
    """Its loss of DAN with as many kernels."""
    from skada.deep.losses import dan_loss

    def loss(source: Tensor, target: Tensor) -> Tensor:
        value: Tensor = dan_loss(source, target, sigmas=WIDTHS)
        return value

    return loss
