"""Names of devices."""

import pytest
import torch

from datk.devices import describe_device, resolve_device
from datk.errors import ConfigError

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
