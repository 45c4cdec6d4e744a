"""A step as a CUDA graph: recorded once, then replayed without Python in between."""

from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar

import torch
from torch import Tensor

from datk.interfaces import SourceBatch, TargetBatch
from datk.trace import Losses

Run = Callable[[SourceBatch, TargetBatch], list[Losses]]
Batch = TypeVar("Batch", SourceBatch, TargetBatch)

WARM_UP = 3
"""Steps before the recording: optimiser, kernels and autograd make what they keep when first used."""


class GraphedRun:
    """A function of two batches that is replayed as a CUDA graph from its fourth call on.

    The function may change tensors in place (parameters, buffers, random state of the device), and always in
    the same way: what it does in Python happens only while it is recorded. Where recording fails, `note` is
    told why, and the function is called as it is.
    """

    def __init__(self, run: Run, device: torch.device, note: Callable[[str], None]) -> None:
        self.run, self.device, self.note = run, device, note
        self.calls = 0
        self.failed = False
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, source: SourceBatch, target: TargetBatch) -> list[Losses]:
        """What the function gives for the batches."""
        self.calls += 1
        if self.calls <= WARM_UP:
            return self._aside(source, target)
        if self.calls == WARM_UP + 1:
            self._record(source, target)
        if self.failed:
            return self.run(source, target)
        _copy(source, self.source)
        _copy(target, self.target)
        self._replay()
        return [Losses(phase, names, values.clone()) for phase, names, values in self.losses]

    def _record(self, source: SourceBatch, target: TargetBatch) -> None:
        self.source, self.target = _clone(source), _clone(target)
        try:
            self.losses = self._capture()
        except Exception as error:  # whatever a component does that a graph cannot hold
            self.failed = True
            reason = str(error).partition("\n")[0]
            self.note(f"train.graphs: the step cannot be recorded ({reason}); it runs as it is")

    def _aside(self, source: SourceBatch, target: TargetBatch) -> list[Losses]:
        """Run in a stream of its own, as autograd's part of the recording will."""
        here = torch.cuda.current_stream(self.device)
        aside: Any = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
        aside.wait_stream(here)
        with torch.cuda.stream(aside):
            losses = self.run(source, target)
        here.wait_stream(aside)
        return losses

    def _capture(self) -> list[Losses]:
        """Record the function on the batches that are kept; its results will be found in what it returns."""
        graph = torch.cuda.CUDAGraph()
        # Only this thread's calls count: another one may be reading the next batch.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            losses = self.run(self.source, self.target)
        self.graph = graph
        return losses

    def _replay(self) -> None:
        assert self.graph is not None
        self.graph.replay()


def _tensors(batch: SourceBatch | TargetBatch) -> list[Tensor]:
    return [getattr(batch, field.name) for field in fields(batch)]


def _clone(batch: Batch) -> Batch:
    return type(batch)(*(tensor.clone() for tensor in _tensors(batch)))


def _copy(batch: Batch, to: Batch) -> None:
    for theirs, mine in zip(_tensors(batch), _tensors(to), strict=True):
        mine.copy_(theirs)
