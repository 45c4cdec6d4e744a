"""Which device a run uses."""

import torch

from datk.errors import ConfigError


def resolve_device(name: str) -> torch.device:
    """The device for `auto|cpu|cuda|cuda:N|mps`; `auto` is CUDA where there is one, else the CPU.

    Raises `ConfigError` for a name that is none of these and for a device that is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (index and not (kind == "cuda" and index.isdigit())):
        raise ConfigError(f"unknown device '{name}'; use auto, cpu, cuda, cuda:N or mps")
    if kind == "cuda":
        if not torch.cuda.is_available():
            raise ConfigError(f"device '{name}' asked for, but there is no CUDA device; use --device cpu")
        if index and int(index) >= torch.cuda.device_count():
            raise ConfigError(
                f"device '{name}' is not there; there are {torch.cuda.device_count()}, from cuda:0"
            )
    if kind == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("device 'mps' asked for, but there is none; use --device cpu")
    return torch.device(name)


def describe_device(device: torch.device) -> str:
    """The device's name for the record: `cpu`, or the kind and model of an accelerator."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return str(device)
