"""What a trained model says of rows of a domain."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from datk.base import processes
from datk.data.dataset import Domain
from datk.data.splits import RowNumbers
from datk.interfaces import Backbone, Outputs
from datk.training.gather import put_together


def predict(predictor: nn.Module, domain: Domain, rows: RowNumbers) -> npt.NDArray[np.float32]:
    """Logits [N, K] of the given rows of a domain, in order.

    predictor: a backbone, or any module whose `forward(x)` gives logits.
    """
    by_domain = isinstance(predictor, Backbone)

    def logits(x: Tensor, number: Tensor) -> tuple[Tensor]:
        return (predictor(x, number) if by_domain else predictor(x),)

    return _collect(predictor, logits, domain, rows)[0].numpy()


def embed(
    backbone: Backbone, domain: Domain, rows: RowNumbers, layer: str = "features"
) -> npt.NDArray[np.float32]:
    """A layer [N, ...] of the given rows of a domain, in order, for instance as input of a t-SNE. Raises
    KeyError for a layer that the backbone does not have."""

    def output(x: Tensor, number: Tensor) -> tuple[Tensor]:
        return (backbone.layers_of(x, number)[layer],)

    return _collect(backbone, output, domain, rows)[0].numpy()


def outputs(
    predictor: nn.Module, backbone: Backbone, domain: Domain, rows: RowNumbers, labels: Tensor | None = None
) -> Outputs:
    """Features and logits of the given rows of a domain, in order.

    backbone: whose features they are, if the predictor is no backbone itself.
    """

    def both(x: Tensor, number: Tensor) -> tuple[Tensor, Tensor]:
        if isinstance(predictor, Backbone):
            features = predictor.layers_of(x, number)["features"]
            return features, predictor.head(features)
        return backbone.layers_of(x, number)["features"], predictor(x)

    parts = nn.ModuleList([predictor, backbone])
    features, logits = _collect(parts, both, domain, rows)
    return Outputs(features, logits, labels)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Have a module in evaluation mode, and every part of it in its own mode again afterwards."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


def _collect(
    module: nn.Module,
    output: Callable[[Tensor, Tensor], tuple[Tensor, ...]],
    domain: Domain,
    rows: RowNumbers,
) -> list[Tensor]:
    """What `output` gives for batches x and their domains, put together, on the CPU in float32."""
    shares = processes.parts(rows)
    together = processes.size() > 1 and all(map(len, shares))
    mine = shares[processes.rank()] if together else rows
    with evaluating(module), torch.inference_mode():
        # Brought to the host once: waiting for each batch leaves a GPU idle while the next one is prepared.
        # Into one place each: small results kept one by one lie in the holes that large batches leave, so
        # that the next batch finds none, and memory grows by the size of the domain.
        whole: list[Tensor] = []
        done = 0
        for x, number in domain.in_order(mine):
            parts = output(x, number)
            whole = whole or [part.new_empty(len(mine), *part.shape[1:]) for part in parts]
            for kept, part in zip(whole, parts, strict=True):
                kept[done : done + len(part)] = part
            done += len(x)
        if together:
            whole = [put_together(part, [len(share) for share in shares]) for part in whole]
    return [part.float().cpu().clone() for part in whole]  # the clone may take part in computing a gradient
