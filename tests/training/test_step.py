"""A step: whatever makes it faster leaves its numbers as they were."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from datk.base.rng import seed_defaults
from datk.interfaces import PairInfo, SourceBatch, TargetBatch
from datk.training.step import Optimization, train_step
from tests import build
from tests.toy_methods import METHODS as TOY_METHODS
from tests.toys import TOYS

METHODS = {
    "none": ("none", []),
    "mmd": ("mmd", ["fisher", "entropy"]),
    "coral": ("coral,mmd", []),
    "dann": ("dann", ["fisher"]),
    "phases": (TOYS + "Discrepancy", ["entropy"]),
    "in turn": (TOY_METHODS + "InTurn", []),
    "network": ("mmd", [TOY_METHODS + "Consistency"]),
}
STEPS = 20
HAS_CUDA = torch.cuda.is_available()
needs_cuda = pytest.mark.skipif(not HAS_CUDA, reason="there is no CUDA device")


def batches(steps, device="cpu"):
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        x = torch.randn(2, 16, 3, 16, 16, generator=generator).to(device)
        x[1] += 0.3
        labels, index = torch.arange(16, device=device) % 2, torch.arange(16, device=device)
        x[0] += labels[:, None, None, None]
        zeros = torch.zeros_like(index)
        yield SourceBatch(x[0], labels, index, zeros), TargetBatch(x[1], index, zeros + 1)


def losses(method, steps=STEPS, device="cpu", backbone="deepmerge", note=lambda text: None, **train):
    """The terms of every phase of every step, [steps, terms].

    Adam with its small epsilon turns a gradient that is nothing but rounding into a step of full size, so
    that runs that differ in the last bit soon differ in the second digit; with 1e-3 rounding stays small.
    """
    align, reg = METHODS[method]
    train = {"eps": 1e-3, "lr": 3e-3, "schedule": "constant", **train}
    chosen = build.experiment(backbone=backbone, align=align, reg=reg, train=train)
    objective = build.objective(chosen, PairInfo((3, 16, 16), ("a", "b")))
    objective.place(torch.device(device), chosen.config.train.memory_format)
    run = Optimization(objective, chosen.config.train, steps_per_epoch=steps, note=note)
    trace = []
    with torch.random.fork_rng():
        seed_defaults(torch.device(device), 0, "train")
        for step, both in enumerate(batches(steps, device)):
            if step == 0 and chosen.config.train.compile != "none":
                run.compile(*both)
            trace.append(train_step(run, step, *both))
    return torch.stack([torch.cat([phase.values for phase in step]) for step in trace]).cpu()


def close(found, expected, tolerance):
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def test_the_losses_change_from_step_to_step():
    """Otherwise the comparisons below would prove nothing."""
    for method in METHODS:
        values = losses(method)
        assert (values[0] - values[-1]).abs().max() > 0.01


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("backbone", ["deepmerge", {"name": "mlp", "hidden": [8]}])
def test_the_memory_format_changes_rounding_only(method, backbone):
    formats = ("contiguous", "channels-last", "auto")
    contiguous, last, auto = (losses(method, memory_format=name, backbone=backbone) for name in formats)
    close(last[:3], contiguous[:3], 1e-5)
    # Soon a value falls to the other side of a ReLU or of a maximum, and small differences are larger ones.
    close(last, contiguous, 1e-2)
    assert torch.equal(auto, last)
    if backbone == "deepmerge":
        assert not torch.equal(last, contiguous)


@pytest.mark.parametrize(("precision", "tolerance"), [("bfloat16", 0.01), ("float16", 0.005)])
@pytest.mark.parametrize("method", METHODS)
def test_lower_precision_changes_losses_by_little(method, precision, tolerance):
    """At the first step in the digits that the type lacks; soon after, the runs go ways of their own."""
    whole, low = losses(method, steps=3), losses(method, steps=3, precision=precision)
    assert low.dtype == torch.float32
    assert not torch.equal(low, whole)
    relative = (low - whole).abs() / whole.abs().clamp_min(0.1)
    assert relative[0].max() < tolerance
    assert relative.max() < 0.05


def test_the_loss_is_scaled_in_float16_only():
    for precision, scaled in (("float32", False), ("bfloat16", False), ("float16", True)):
        chosen = build.experiment(train={"precision": precision})
        objective = build.objective(chosen, PairInfo((6,), ("a", "b")))
        run = Optimization(objective, chosen.config.train, steps_per_epoch=1)
        assert (run.state()["scaler"] != {}) == scaled


class NothingIsRead(TorchDispatchMode):
    """Refuses what brings a value from the device to Python, or a size that depends on values."""

    READING = ("_local_scalar_dense", "nonzero", "unique", "masked_select", "equal", "is_nonzero")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert not any(word in func.name() for word in self.READING), func
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("method", METHODS)
def test_a_step_reads_nothing_back(method):
    with NothingIsRead():
        losses(method, steps=2)
    with pytest.raises(AssertionError, match="_local_scalar_dense"), NothingIsRead():
        torch.ones(1).item()


# --- compilation ---------------------------------------------------------------------------------------


def through_autograd_only(monkeypatch):
    """Compile as far as the graph of the gradients, which is where a component's code can fail."""
    counted = []

    def backend(graph, inputs):
        counted.append(graph)
        return torch._dynamo.lookup_backend("aot_eager")(graph, inputs)

    whole = torch.compile
    monkeypatch.setattr(torch, "compile", lambda model, **_: whole(model, backend=backend, fullgraph=True))
    torch._dynamo.reset()
    return counted


@pytest.mark.parametrize("method", METHODS)
def test_every_phase_is_compiled_as_one_graph_with_the_same_losses(method, monkeypatch):
    graphs = through_autograd_only(monkeypatch)
    notes = []
    found = losses(method, compile="default", note=notes.append)
    assert notes == []
    assert len(graphs) == {"phases": 3, "in turn": 2}.get(method, 1)
    close(found, losses(method), 1e-4)


@pytest.mark.parametrize("method", ["mmd", "dann"])
@pytest.mark.parametrize("where", ["forward", "backward"])
def test_a_compiler_that_fails_is_done_without(where, method, monkeypatch):
    """From the state before it was tried: buffers, and what dropout draws from."""

    class Fails(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, grad):
            raise RuntimeError("no compiler found")

    def compiled(model, **_):
        def call(*batch):
            if where == "forward":
                raise RuntimeError("no compiler found")
            terms, logged = model(*batch)
            return {name: Fails.apply(value) for name, value in terms.items()}, logged

        return call

    monkeypatch.setattr(torch, "compile", compiled)
    notes = []
    found = losses(method, compile="default", note=notes.append)
    assert notes == ["train.compile failed (no compiler found); training goes on without"]
    assert torch.equal(found, losses(method))


# --- devices -------------------------------------------------------------------------------------------


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("method", METHODS)
def test_a_gpu_gives_the_losses_of_the_cpu(method):
    """But for dropout, whose draws are the device's own."""
    dropout = {"dann": ({"dann": {"dropout": 0.0}}, ["fisher"])}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(METHODS, method, dropout.get(method, METHODS[method]))
        close(losses(method, device="cuda"), losses(method), 1e-3)


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("mode", ["default", "reduce-overhead"])
def test_compilation_gives_the_losses_of_plain_steps(method, mode):
    notes = []
    found = losses(method, device="cuda", note=notes.append, compile=mode)
    assert notes == []
    close(found, losses(method, device="cuda"), 1e-3)


@pytest.mark.gpu
@needs_cuda
def test_compiled_float16_keeps_its_scale():
    found = losses("mmd", device="cuda", compile="reduce-overhead", precision="float16")
    close(found, losses("mmd", device="cuda", precision="float16"), 1e-2)
