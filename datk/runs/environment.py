"""What a number may depend on besides configuration and data, and what of it changed between two starts."""

import os
import platform
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import torch

from datk.base import processes
from datk.base.devices import describe_device
from datk.base.version import __version__

PACKAGES = ("torch", "torchvision", "numpy", "scikit-learn", "pydantic", "h5py", "safetensors")


def environment(device: torch.device) -> dict[str, Any]:
    """Versions, device and command of a start."""
    return {
        "datk": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: version(name) for name in PACKAGES},
        "device": describe_device(device),
        "cuda": torch.version.cuda if device.type == "cuda" else None,
        "threads": torch.get_num_threads(),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS"),
        "processes": processes.size(),
        "command": sys.argv,
    }


def changes(starts: Sequence[Mapping[str, Any]]) -> list[str]:
    """A note for everything that was another one at a later start of the same run, in the order of the
    starts.

    >>> changes([{"device": "cpu", "threads": 1}, {"device": "cpu", "threads": 4}])
    ['the run was started with threads 1 and went on with 4']
    """
    flat = [_flat(start) for start in starts]
    notes = []
    for name in dict.fromkeys(name for start in flat for name in start):
        values = [start[name] for start in flat if name in start]
        distinct = [value for k, value in enumerate(values) if k == 0 or value != values[k - 1]]
        if len(distinct) > 1:
            first, *later = map(_text, distinct)
            notes.append(f"the run was started with {name} {first} and went on with {', then '.join(later)}")
    return notes


def _flat(start: Mapping[str, Any]) -> dict[str, Any]:
    """What may have changed, by the name that people know it by."""
    packages = start.get("packages")
    kept = ("datk", "python", "platform", "device", "cuda", "threads", "processes")
    return {name: start[name] for name in kept if name in start} | (
        dict(packages) if isinstance(packages, Mapping) else {}
    )


def _text(value: Any) -> str:
    return "none" if value is None else str(value)
