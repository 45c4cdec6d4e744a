"""The CORAL term alone, forward and backward: fewer rows than features, and more."""

from collections.abc import Callable, Iterator

from benchmarks.speed.harness import Row, Setting
from benchmarks.speed.terms import Loss, against_peers
from datk_discrepancy.coral import coral


def measure(setting: Setting) -> Iterator[Row]:
    """128 + 128 features of 2592, where datk makes no covariance matrix, and 1024 + 1024 of 256."""
    peers: dict[str, Callable[[], Loss]] = {"pytorch-adapt": pytorch_adapt, "skada": skada}
    own: dict[str, Loss] = {"datk": coral}
    yield from against_peers("coral", own, peers, setting, at_most=0.1)
    yield from against_peers("coral", own, peers, setting, batch=1024, dim=256, at_most=1.0)


def pytorch_adapt() -> Loss:
    """Its CORALLoss."""
    from pytorch_adapt.layers import CORALLoss

    loss: Loss = CORALLoss()
    return loss


def skada() -> Loss:
    """Its loss of DeepCORAL."""
    from skada.deep.losses import deepcoral_loss

    loss: Loss = deepcoral_loss
    return loss
