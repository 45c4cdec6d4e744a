"""Names of devices; memory of the CPU."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from datk.base.devices import describe_device, resolve_device, reusing_memory
from datk.base.errors import ConfigError

HAS_CUDA = torch.cuda.is_available()


def test_the_cpu_is_always_there():
    assert resolve_device("cpu") == torch.device("cpu")
    assert describe_device(torch.device("cpu")) == "cpu"


def test_auto_takes_cuda_where_there_is_one():
    assert resolve_device("auto").type == ("cuda" if HAS_CUDA else "cpu")


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cpu:0", "cuda:-1", "", "CUDA", "mps:1", "cuda:"])
def test_other_names_are_refused(name):
    with pytest.raises(ConfigError, match=r"use auto, cpu, cuda, cuda:N or mps"):
        resolve_device(name)


@pytest.mark.skipif(HAS_CUDA, reason="there is a CUDA device")
@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:999"])
def test_a_missing_gpu_is_named(name):
    with pytest.raises(
        ConfigError, match=f"device '{name}' asked for, but there is no CUDA device; use --device cpu"
    ):
        resolve_device(name)


@pytest.mark.gpu
@pytest.mark.skipif(not HAS_CUDA, reason="there is no CUDA device")
def test_a_gpu_that_is_not_there_is_named():
    with pytest.raises(ConfigError, match=r"device 'cuda:99' is not there"):
        resolve_device("cuda:99")
    assert "(" in describe_device(torch.device("cuda"))


MEASURE = """
import resource, torch
from datk.base.devices import reusing_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.zeros(64 * 2**18)  # 64 MiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024

torch.set_num_threads(1)
faults()
outside = faults()
with reusing_memory(torch.device("cpu")):
    faults()
    inside = faults()
    held = resident()
print(outside, inside, held - resident())
"""


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="asks Linux for memory")
def test_memory_is_reused_and_given_back_in_the_end():
    """In pages that the system had to clear, and MiB."""
    found = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True)
    outside, inside, given_back = map(float, found.stdout.split())
    assert outside > 10_000
    assert inside < 0.01 * outside
    assert given_back > 50


def test_memory_is_left_alone_for_a_gpu_and_where_the_library_is_another(monkeypatch):
    with reusing_memory(torch.device("cuda")):
        pass
    monkeypatch.setattr("ctypes.CDLL", lambda name: (_ for _ in ()).throw(OSError(name)))
    with reusing_memory(torch.device("cpu")):
        pass
