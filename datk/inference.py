"""What a trained backbone says of rows of a domain."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from datk import distributed
from datk.data import Domain
from datk.interfaces import Backbone

Rows = npt.NDArray[np.int64]


def predict(backbone: Backbone, domain: Domain, rows: Rows) -> npt.NDArray[np.float32]:
    """Logits [N, K] of the given rows of a domain, in order; the backbone is left in evaluation mode."""
    return _collect(backbone, backbone, domain, rows)


def embed(backbone: Backbone, domain: Domain, rows: Rows, layer: str = "features") -> npt.NDArray[np.float32]:
    """A layer [N, ...] of the given rows of a domain, in order, for instance as input of a t-SNE; the
    backbone is left in evaluation mode. Raises KeyError for a layer that it does not have."""
    return _collect(backbone, lambda x: backbone.embed(x)[layer], domain, rows)


def _collect(
    backbone: Backbone, output: Callable[[Tensor], Tensor], domain: Domain, rows: Rows
) -> npt.NDArray[np.float32]:
    backbone.eval()
    shares = distributed.parts(rows)
    together = distributed.size() > 1 and all(map(len, shares))
    mine = shares[distributed.rank()] if together else rows
    with torch.inference_mode():
        # Brought to the host once: waiting for each batch leaves a GPU idle while the next one is prepared.
        outputs = torch.cat([output(x) for x in domain.in_order(mine)])
    if together:
        outputs = distributed.put_together(outputs, [len(share) for share in shares])
    result: npt.NDArray[np.float32] = outputs.float().cpu().numpy()
    return result
