"""Recording and replaying a step; without a GPU, with a recording that is nothing but a second call."""

import warnings
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

import datk
from datk.graphs import WARM_UP, GraphedRun
from datk.interfaces import SourceBatch, TargetBatch
from datk.trace import Losses

TOYS = f"{Path(__file__).with_name('toys.py')}:"
HAS_CUDA = torch.cuda.is_available()
CPU = torch.device("cpu")


class OnCpu(GraphedRun):
    """Replays by calling the function on the batches that are kept, as a graph does on their memory."""

    recorded = 0

    def _aside(self, source, target):
        return self.run(source, target)

    @contextmanager
    def _telling_of_waits(self):
        yield

    def _capture(self):
        self.recorded += 1
        return [Losses("train", ("sum",), torch.zeros(1))]

    def _replay(self):
        for kept, new in zip(self.losses, self.run(self.source, self.target), strict=True):
            kept.values.copy_(new.values)


def batch(number):
    x = torch.full((2, 3), float(number))
    return SourceBatch(x, torch.tensor([0, 1]), torch.arange(2)), TargetBatch(2 * x, torch.arange(2))


def first_value(source, target):
    return [Losses("train", ("x",), source.x[0, :1])]


def test_every_call_sees_its_own_batches_and_gives_values_of_its_own():
    def run(source, target):
        seen.append(source.x.data_ptr())
        return [Losses("train", ("sum",), (source.x.sum() + target.x.sum()).view(1))]

    seen, notes = [], []
    graphed = OnCpu(run, CPU, [], notes.append)
    found = [graphed(*batch(number))[0] for number in range(10)]
    assert [losses.values.item() for losses in found] == [18.0 * number for number in range(10)]
    assert graphed.recorded == 1
    assert len(set(seen[WARM_UP:])) == 1
    assert notes == []


def test_what_cannot_be_recorded_runs_as_it_is():
    class Fails(OnCpu):
        def _capture(self):
            raise RuntimeError("operation not permitted when stream is capturing\nand much more")

    notes = []
    graphed = Fails(first_value, CPU, [], notes.append)
    assert [graphed(*batch(number))[0].values.item() for number in range(6)] == list(range(6))
    assert notes == [
        "train.graphs: the step cannot be recorded (operation not permitted when stream is capturing); "
        "it runs as it is"
    ]


def test_what_waits_for_the_device_is_not_even_tried():
    """Torch tells of that by warnings, others of which still reach the user."""

    def run(source, target):
        warnings.warn("called a synchronizing CUDA operation", stacklevel=1)
        warnings.warn("of another kind", stacklevel=1)
        return [Losses("train", ("x",), source.x[0, :1])]

    notes = []
    graphed = OnCpu(run, CPU, [], notes.append)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert [graphed(*batch(number))[0].values.item() for number in range(6)] == list(range(6))
    assert graphed.recorded == 0
    assert len(notes) == 1
    assert f"the step cannot be recorded (it reads a value from the device at {__file__}:" in notes[0]
    assert [str(warning.message) for warning in caught].count("of another kind") == 6


def test_a_buffer_that_is_replaced_afterwards_ends_the_replaying():
    """A recording writes to where the buffer was."""
    term, notes = torch.nn.Module(), []
    term.register_buffer("bank", torch.zeros(2))
    term.register_buffer("average", torch.zeros(2))
    term.register_buffer("nothing", None)
    graphed = OnCpu(first_value, CPU, [("term", term)], notes.append)
    found = []
    for number in range(8):
        if number == 6:
            term.average = torch.zeros(2)
        found.append(graphed(*batch(number))[0].values.item())
    assert found == list(range(8))
    assert graphed.recorded == 1
    assert len(notes) == 1
    assert "a component has replaced its buffer 'term.average' instead of changing it in place" in notes[0]


def run(out, **options):
    return datk.run(
        pair={"name": TOYS + "Toy", "shape": [2, 16, 16]},
        backbone="deepmerge",
        align={"dann": {"hidden": [6]}},
        epochs=3,
        out=out,
        set={"train.batch_size": 8, **options},
    )


@pytest.mark.skipif(HAS_CUDA, reason="there is a CUDA device")
def test_without_a_gpu_a_note_says_so_and_nothing_changes(tmp_path):
    plain, graphs = run(tmp_path / "plain"), run(tmp_path / "graphs", **{"train.graphs": True})
    assert graphs.weights_sha256 == plain.weights_sha256
    assert "train.graphs needs a CUDA device, not cpu" in (graphs.folder / "log.txt").read_text()


@pytest.mark.gpu
@pytest.mark.skipif(not HAS_CUDA, reason="there is no CUDA device")
@pytest.mark.parametrize("memory", [{}, {"data.memory_gb": 1e-9}])
def test_a_run_with_graphs_is_the_same_run(tmp_path, memory):
    """Dropout, validation between epochs, and rows that a thread reads meanwhile."""
    plain = run(tmp_path / "plain", device="cuda", **memory)
    graphs = run(tmp_path / "graphs", device="cuda", **{"train.graphs": True}, **memory)
    assert "recorded" not in (graphs.folder / "log.txt").read_text()
    assert graphs.metrics["source"]["validation"]["accuracy"] == pytest.approx(
        plain.metrics["source"]["validation"]["accuracy"], abs=0.1
    )


@pytest.mark.gpu
@pytest.mark.skipif(not HAS_CUDA, reason="there is no CUDA device")
def test_a_component_that_reads_values_falls_back(tmp_path):
    (tmp_path / "reads.py").write_text(
        "from datk.interfaces import Regularizer\n"
        "class Reads(Regularizer):\n"
        "    def forward(self, source, target, step):\n"
        "        return source.features.mean() * float(source.features.mean() > -1e9)\n"
    )
    result = datk.run(
        pair=TOYS + "Toy", backbone="mlp", align="mmd", reg=[f"{tmp_path / 'reads.py'}:Reads"],
        epochs=3, out=tmp_path / "run", device="cuda", set={"train.graphs": True, "train.batch_size": 8},
    )  # fmt: skip
    told = (result.folder / "log.txt").read_text()
    assert "the step cannot be recorded (it reads a value from the device at " in told
    assert "reads.py" in told
