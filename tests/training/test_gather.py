"""What several processes that train one model tell each other."""

import os
import socket
import subprocess
import sys

import pytest
import torch
from torch import nn

from datk.base.errors import ConfigError
from datk.testing import views
from datk.training import gather

RANKS = 2

# What every process finds, compared with what a single one finds of the same rows.
SCRIPT = """
import torch
from torch import nn
import torch.distributed as dist
from datk.base.processes import leads, rank, share, size
from datk.interfaces import SourceView, TargetView
from datk.training import gather

dist.init_process_group("gloo")
assert size() == 2
here = rank()

# Means, gradients, buffers.
values = torch.tensor([1.0, 2.0]) * (here + 1)
assert torch.equal(gather.mean(values), torch.tensor([1.5, 3.0]))
assert torch.equal(values, torch.tensor([1.0, 2.0]) * (here + 1)), "what is given is left alone"

trained, frozen = nn.Linear(2, 3), nn.Linear(2, 3)
trained.weight.grad = torch.full((3, 2), float(here))
trained.bias.grad = torch.arange(3.0) + 10 * here
gather.average_gradients([*trained.parameters(), *frozen.parameters()])
assert torch.equal(trained.weight.grad, torch.full((3, 2), 0.5))
assert torch.equal(trained.bias.grad, torch.arange(3.0) + 5)
assert frozen.weight.grad is None

norm = nn.BatchNorm1d(3)
norm.running_mean.fill_(here + 1.0)
gather.share_buffers(norm)
assert torch.equal(norm.running_mean, torch.ones(3)), "those of the first"

# Rows of all: a value that is no mean over rows, and its gradient.
generator = torch.Generator().manual_seed(0)
x = torch.randn(2, 8, 5, generator=generator, dtype=torch.float64)
weight = torch.randn(5, 4, generator=generator, dtype=torch.float64)
labels = torch.arange(8) % 3

def views(x, weight, labels, index):
    def common(rows, domain):
        features = rows @ weight
        return dict(
            x=rows, index=index, domain=torch.full((len(rows),), domain), features=features,
            logits=features.tanh(), layers={"features": features, "hidden": features.square()},
        )
    return SourceView(**common(x[0], 0), labels=labels), TargetView(**common(x[1], 1))

def term(source, target):
    between = torch.cdist(source.features, target.features).sum()
    return between + (source.logits.mT @ source.logits).square().sum() - source.layers["hidden"].std()

alone = weight.clone().requires_grad_()
expected = term(*views(x, alone, labels, torch.arange(8)))
expected.backward()

together = nn.Parameter(weight.clone())
mine = torch.arange(8).chunk(2)[here]
source, target = gather.everyones(*views(x[:, mine], together, labels[mine], mine))
assert torch.equal(source.index, torch.arange(8)) and torch.equal(target.index, torch.arange(8))
assert torch.equal(source.labels, labels) and torch.equal(source.x, x[0]) and torch.equal(target.x, x[1])
assert source.domain.tolist() == [0] * 8 and target.domain.tolist() == [1] * 8
assert source.features is source.layers["features"] and source.shared is target.shared
found = term(source, target)
torch.testing.assert_close(found.detach(), expected.detach())
found.backward()
gather.average_gradients([together])
torch.testing.assert_close(together.grad, alone.grad)

# Parts of different lengths, one of them empty.
for lengths in ([3, 1], [2, 0]):
    part = torch.full((lengths[here], 2), float(here))
    whole = gather.put_together(part, lengths)
    assert whole[:, 0].tolist() == [0.0] * lengths[0] + [1.0] * lengths[1]

dist.destroy_process_group()
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.slow
def test_two_processes_find_what_one_finds():
    port = free_port()
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT],
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ
            | {"RANK": str(rank), "WORLD_SIZE": str(RANKS), "OMP_NUM_THREADS": "1"}
            | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)},
        )
        for rank in range(RANKS)
    ]
    said = [process.communicate(timeout=140)[1] for process in ranks]
    assert [process.returncode for process in ranks] == [0] * RANKS, said


def test_a_single_process_is_told_what_it_says():
    source, target = views()
    assert [*map(id, gather.everyones(source, target))] == [id(source), id(target)]
    values = torch.arange(3.0)
    assert gather.mean(values) is values
    linear = nn.Linear(2, 2)
    linear.weight.grad = torch.ones(2, 2)
    gather.average_gradients(list(linear.parameters()))
    gather.share_buffers(nn.BatchNorm1d(3))
    assert torch.equal(linear.weight.grad, torch.ones(2, 2))


# --- batch normalisation -------------------------------------------------------------------------------


class Activated(nn.BatchNorm2d):
    """Does more than its parent, as some libraries' do; converted it would lose that."""

    def forward(self, x):
        return super().forward(x).relu()


def network(norm):
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ModuleDict({"norm": norm}), nn.Flatten(), nn.BatchNorm1d(16))


def synced(module, backend, monkeypatch):
    """What becomes of a module, and what was noted."""
    monkeypatch.setattr("torch.distributed.get_backend", lambda: backend)
    notes = []
    gather.sync_batch_norm(module, notes.append)
    return module, notes


def test_on_gpus_batch_norm_becomes_torchs_own_of_all_processes(monkeypatch):
    before = network(nn.BatchNorm2d(4))
    parameters, state = list(before.parameters()), {k: v.clone() for k, v in before.state_dict().items()}
    after, notes = synced(before, "nccl", monkeypatch)
    norms = [module for module in after.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    assert [type(norm) for norm in norms] == [nn.SyncBatchNorm] * 2
    assert notes == []
    assert all(a is b for a, b in zip(after.parameters(), parameters, strict=True)), "the optimiser has them"
    assert all(torch.equal(value, state[name]) for name, value in after.state_dict().items())
    assert [type(m) for m in synced(after, "nccl", monkeypatch)[0].modules()][-1] is nn.SyncBatchNorm


def test_a_kind_of_batch_norm_that_does_more_is_refused_on_gpus(monkeypatch):
    module = network(Activated(4))
    telling = (
        r"^Activated cannot see the rows of all processes; "
        r"set train.sync_batch_norm=false to let each normalise its share$"
    )
    with pytest.raises(ConfigError, match=telling):
        synced(module, "nccl", monkeypatch)
    assert [type(child) for child in module][-1] is nn.BatchNorm1d, "nothing is changed"


def test_on_cpus_batch_norm_stays_and_a_note_says_so(monkeypatch):
    for norm in (nn.BatchNorm2d(4), Activated(4)):
        module, notes = synced(network(norm), "gloo", monkeypatch)
        assert [type(child) for child in module][-1] is nn.BatchNorm1d
        assert notes == ["on CPUs batch normalisation sees each process's share of a batch, not the whole"]


@pytest.mark.parametrize("backend", ["nccl", "gloo"])
def test_without_batch_norm_there_is_nothing_to_say(backend, monkeypatch):
    _, notes = synced(nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2)), backend, monkeypatch)
    assert notes == []
