"""How time and memory of the MMD term grow with the batch, from 128 to 2048 rows of each domain."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from benchmarks.speed.harness import Row, Setting, Spread, interleaved, spreads
from benchmarks.speed.terms import Term
from datk_discrepancy.mmd import BANDWIDTHS, mmd

DIM = 2592
BATCHES = (128, 256, 512, 1024, 2048)


def measure(setting: Setting) -> Iterator[Row]:
    """Time may grow with the square of the batch; what is kept for the backward pass may not grow with D."""
    bandwidths = torch.tensor(BANDWIDTHS["fixed"], device=setting.device)
    terms = {str(batch): Term(lambda s, t: mmd(s, t, bandwidths), setting, batch, DIM) for batch in BATCHES}
    times = interleaved(terms, setting)
    small, large = BATCHES[0], BATCHES[-1]
    powers = [
        math.log(most / least) / math.log(large / small)
        for least, most in zip(times[str(small)], times[str(large)], strict=True)
    ]
    yield Row(
        f"mmd term, time grows from {small} to {large} rows of each domain as their number to the power",
        Spread.of(powers),
        unit="",
        at_most=2,
        seconds=spreads(times),
    )
    per_pair = [kept_bytes(terms[str(batch)]) / (2 * batch) ** 2 for batch in BATCHES]
    yield Row(
        "mmd term, kept for the backward pass beside the features, per pair of rows",
        Spread.of(per_pair),
        unit="bytes",
        at_most=32,
    )


def kept_bytes(term: Term) -> int:
    """Bytes of the tensors that autograd keeps, but for one of the size of the joined features."""
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        term.loss(term.source, term.target)
    features = 2 * term.source.numel() * term.source.element_size()
    sizes = sorted(kept.values())
    sizes.remove(features)
    return sum(sizes)
