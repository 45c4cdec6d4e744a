"""A step as a CUDA graph: recorded once, then replayed without Python in between."""

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from datk.interfaces import SourceBatch, TargetBatch
from datk.trace import Losses

Run = Callable[[SourceBatch, TargetBatch], list[Losses]]
Batch = TypeVar("Batch", SourceBatch, TargetBatch)

WARM_UP = 3
"""Steps before the recording: optimiser, kernels and autograd make what they keep when first used."""


class GraphedRun:
    """A function of two batches that is replayed as a CUDA graph from its fourth call on.

    The function may change tensors in place (parameters, buffers, random state of the device), and always in
    the same way: what it does in Python happens only while it is recorded. Where recording fails, or one of
    the buffers is replaced by another tensor afterwards, `note` is told why, and the function is called as
    it is.
    """

    def __init__(
        self,
        run: Run,
        device: torch.device,
        modules: Iterable[tuple[str, nn.Module]],
        note: Callable[[str], None],
    ) -> None:
        self.run, self.device, self.modules, self.note = run, device, list(modules), note
        self.calls = 0
        self.failed = False
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, source: SourceBatch, target: TargetBatch) -> list[Losses]:
        """What the function gives for the batches."""
        self.calls += 1
        if self.calls < WARM_UP:
            return self._aside(source, target)
        if self.calls == WARM_UP:
            return self._watched(source, target)
        if self.calls == WARM_UP + 1 and not self.failed:
            self._record(source, target)
        if not self.failed:
            self._check_places()
        if self.failed:
            return self.run(source, target)
        _copy(source, self.source)
        _copy(target, self.target)
        self._replay()
        return [Losses(phase, names, values.clone()) for phase, names, values in self.losses]

    def _watched(self, source: SourceBatch, target: TargetBatch) -> list[Losses]:
        """The last call before the recording. One that waits for the device, to read a value, cannot be
        recorded, and a recording that was begun and fails leaves random numbers and memory in disorder."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with self._telling_of_waits():
                losses = self._aside(source, target)
        waits = [warning for warning in caught if "called a synchronizing" in str(warning.message)]
        for warning in caught:
            if warning not in waits:
                warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
        if waits:
            self._give_up(f"it reads a value from the device at {waits[0].filename}:{waits[0].lineno}")
        return losses

    def _give_up(self, reason: str) -> None:
        self.failed = True
        self.note(f"train.graphs: the step cannot be recorded ({reason}); it runs as it is")

    def _check_places(self) -> None:
        """The recording goes on with the tensors that it has seen."""
        for owner, buffers, name, place in self.places:
            buffer = buffers.get(name)
            if buffer is None or buffer.data_ptr() != place:
                self._give_up(
                    f"a component has replaced its buffer '{owner}.{name}' instead of changing it in place"
                )
                return

    def _record(self, source: SourceBatch, target: TargetBatch) -> None:
        self.source, self.target = _clone(source), _clone(target)
        self.places = [
            (owner, module._buffers, name, buffer.data_ptr())
            for owner, module in self.modules
            for name, buffer in module._buffers.items()
            if buffer is not None
        ]
        try:
            self.losses = self._capture()
        except Exception as error:  # whatever a component does that a graph cannot hold
            self._give_up(str(error).partition("\n")[0])

    def _aside(self, source: SourceBatch, target: TargetBatch) -> list[Losses]:
        """Run in a stream of its own, as autograd's part of the recording will."""
        here = torch.cuda.current_stream(self.device)
        aside: Any = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
        aside.wait_stream(here)
        with torch.cuda.stream(aside):
            losses = self.run(source, target)
        here.wait_stream(aside)
        return losses

    @contextmanager
    def _telling_of_waits(self) -> Iterator[None]:
        """Make torch warn of every call that waits for the device."""
        before = torch.cuda.get_sync_debug_mode()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that this is a prototype
            torch.cuda.set_sync_debug_mode("warn")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode(before)

    def _capture(self) -> list[Losses]:
        """Record the function on the batches that are kept; its results will be found in what it returns."""
        graph, here = torch.cuda.CUDAGraph(), torch.cuda.current_stream(self.device)
        try:
            # Only this thread's calls count: another one may be reading the next batch.
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                losses = self.run(self.source, self.target)
        except Exception:
            torch.cuda.set_stream(here)  # a recording that fails leaves its own
            raise
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
