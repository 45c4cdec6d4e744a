"""Run folders: what is written, in which order, and how it survives an interruption.

config.json        resolved configuration, itself valid for --config
environment.json   versions, device, command, checksum of the data
splits.npz         row numbers of every part of both domains
metrics.jsonl      a line per log step and per epoch
log.txt            what was shown, as plain lines
checkpoints/       last.pt: all that --resume needs; selected.safetensors: the model
result.json        written last: there if and only if the run is complete
"""

import hashlib
import json
import platform
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationError
from torch import Tensor

from datk import __version__, distributed
from datk.devices import describe_device
from datk.errors import RunError
from datk.files import append_line, only_one, read_json, write_atomically, write_json, writing
from datk.metrics import Metrics

State = dict[str, Tensor]


class RunResult(BaseModel):
    """What a completed run found: the content of result.json, and the folder it lies in."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    datk: str
    """Version of datk."""
    pair: str
    backbone: str
    align: str
    """Alignments, joined by commas; `none` for the source-only baseline."""
    reg: list[str]
    seed: int
    split: str
    """Rule of the split, see `datk.splits`."""
    selected_by: str
    """Rule that chose the epoch, see `datk.selection`."""
    uses_target_labels: bool
    """Whether that rule looked at target labels."""
    epochs: int
    """Epochs that were trained."""
    selected_epoch: int
    """Epoch (from 1) whose weights were kept."""
    seconds: float
    """Time of training, interruptions left out."""
    seconds_per_epoch: float
    device: str
    weights_sha256: str
    """Checksum of the kept weights, see `weights_checksum`."""
    data_sha256: str
    """Checksum of the training data, see `datk.inspection`."""
    metrics: dict[str, dict[str, Metrics]]
    """By domain and part; `target` is empty if the pair has no target labels."""
    notes: list[str] = []
    """What everybody who reads the numbers must know."""

    _folder: Path = PrivateAttr(default=Path())

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self._folder

    @property
    def align_and_reg(self) -> str:
        """The loss terms as the command line names them, for instance `mmd + fisher,entropy`."""
        return " + ".join([self.align, *([",".join(self.reg)] if self.reg else [])])


def weights_checksum(state: Mapping[str, Tensor]) -> str:
    """sha256 over names, types, shapes and values of a state, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name}:{tensor.dtype}:{list(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def environment(device: torch.device) -> dict[str, Any]:
    """What a number may depend on besides configuration and data."""
    packages = ("torch", "torchvision", "numpy", "scikit-learn", "pydantic", "h5py", "safetensors")
    return {
        "datk": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: version(name) for name in packages},
        "device": describe_device(device),
        "cuda": torch.version.cuda if device.type == "cuda" else None,
        "threads": torch.get_num_threads(),
        "processes": distributed.size(),
        "command": sys.argv,
    }


class RunFolder:
    """One run's folder, open for writing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"

    def check(self, config: dict[str, Any], *, resume: bool = False, force: bool = False) -> None:
        """See whether a run may be written here, before anything is computed or removed.

        Raises:
            RunError: the folder holds a run and neither `resume` nor `force` was asked for, or another run
                than the one to be resumed, or files that are no run.
        """
        if self.path.exists() and not self.path.is_dir():
            raise RunError(f"{self.path} is a file; --out names a folder")
        if not self.path.is_dir() or all(entry.suffix == ".part" for entry in self.path.iterdir()):
            return
        if not (self.path / "config.json").is_file():
            raise RunError(f"{self.path} is not empty and holds no run; choose another --out")
        if resume:
            self._check_same(config)
        elif not force:
            raise RunError(f"{self.path} holds a run already; --resume goes on with it, --force replaces it")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Make the folder and keep others from writing into it. Raises `RunError` if one is at it."""
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        busy = f"another process writes into {self.path}; wait until it is done, or choose another --out"
        with only_one(self.path, RunError(busy)):
            yield

    def open(self, config: dict[str, Any], *, force: bool = False) -> None:
        """Write config.json into the folder, emptied of an earlier run with `force`."""
        if force:
            self._clear()
        if not (self.path / "config.json").is_file():
            write_json(self.path / "config.json", config)
        with writing(self.checkpoints):
            self.checkpoints.mkdir(exist_ok=True)

    def _check_same(self, config: dict[str, Any]) -> None:
        recorded = read_json(self.path / "config.json")
        different = differing_keys(recorded, config)
        if different:
            key, old, new = different[0]
            was, is_now = (
                "a table" if isinstance(value, dict) else "not there" if value is None else repr(value)
                for value in (old, new)
            )
            more = f" and {len(different) - 1} more" if len(different) > 1 else ""
            raise RunError(
                f"cannot resume {self.path}: {key} was {was} and is now {is_now}{more}; "
                "repeat the run's own options, or choose another --out"
            )

    def _clear(self) -> None:
        """Remove what a run writes; a file of the user's in the folder stays."""
        ours = ("result.json", "checkpoints/last.pt", "checkpoints/selected.safetensors", "environment.json")
        for name in (*ours, "metrics.jsonl", "log.txt", "splits.npz", "config.json"):
            (self.path / name).unlink(missing_ok=True)

    def result(self) -> RunResult | None:
        """The result of a completed run, None for one that is not."""
        return read_result(self.path) if (self.path / "result.json").is_file() else None

    def write_record(self, splits: dict[str, Any], data_sha256: str, device: torch.device) -> None:
        """Write environment.json and splits.npz. Raises `RunError` if a run to be resumed had other data."""
        path = self.path / "environment.json"
        if path.is_file() and read_json(path).get("data_sha256") != data_sha256:
            raise RunError(
                f"cannot resume {self.path}: the data have changed since it was started; "
                "restore them, or choose another --out"
            )
        write_json(path, environment(device) | {"data_sha256": data_sha256})
        write_atomically(self.path / "splits.npz", lambda file: np.savez_compressed(file, **splits))

    def append_metrics(self, record: dict[str, Any]) -> None:
        """Add a line to metrics.jsonl."""
        append_line(self.path / "metrics.jsonl", json.dumps(record))

    def keep_metrics_until(self, epoch: int) -> None:
        """Drop the lines of later epochs, which will be trained again, and a line cut short by a kill."""
        path = self.path / "metrics.jsonl"
        if path.is_file():
            kept = []
            for line in path.read_text(encoding="utf-8").splitlines():
                with suppress(json.JSONDecodeError):
                    if json.loads(line)["epoch"] <= epoch:
                        kept.append(line + "\n")
            write_atomically(path, lambda file: file.write("".join(kept).encode()))

    # --- checkpoints

    def save_last(self, state: dict[str, Any]) -> None:
        """Save all that resuming needs."""
        write_atomically(self.checkpoints / "last.pt", lambda file: torch.save(state, file))

    def load_last(self, device: torch.device) -> dict[str, Any] | None:
        """What `save_last` saved, None if there is nothing. Raises `RunError` for a damaged file."""
        path = self.checkpoints / "last.pt"
        if not path.is_file():
            return None
        try:
            state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        except Exception as error:  # damaged bytes make torch raise a dozen kinds
            raise RunError(
                f"{path} is damaged or no checkpoint of datk; --force starts the run again"
            ) from error
        return state

    def save_selected(self, state: State) -> None:
        """Save the model of the best epoch so far."""
        # Copies, because the format refuses tensors that share memory, as tied weights do.
        copies = {name: t.clone(memory_format=torch.contiguous_format) for name, t in state.items()}
        content = safetensors.torch.save(copies)
        write_atomically(self.checkpoints / "selected.safetensors", lambda file: file.write(content))

    def load_selected(self) -> State:
        """The model of the best epoch, on the CPU. Raises `RunError` if it is missing or damaged."""
        path = self.checkpoints / "selected.safetensors"
        try:
            return safetensors.torch.load(path.read_bytes())
        except FileNotFoundError:
            raise RunError(
                f"{self.path} holds no trained model (no {path.name}); let its run finish"
            ) from None
        except (OSError, safetensors.SafetensorError) as error:
            raise RunError(f"model {path} cannot be read: {error}") from None

    def finish(self, result: RunResult) -> RunResult:
        """Write result.json, the mark of a completed run."""
        write_json(self.path / "result.json", result.model_dump(mode="json"))
        result._folder = self.path
        return result


class WatchedFolder(RunFolder):
    """A run folder that another process writes; this one only reads it."""

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nothing: the other process holds the lock."""
        yield

    def open(self, config: dict[str, Any], *, force: bool = False) -> None:
        """Nothing."""

    def write_record(self, splits: dict[str, Any], data_sha256: str, device: torch.device) -> None:
        """Nothing."""

    def append_metrics(self, record: dict[str, Any]) -> None:
        """Nothing."""

    def keep_metrics_until(self, epoch: int) -> None:
        """Nothing."""

    def save_last(self, state: dict[str, Any]) -> None:
        """Nothing."""

    def save_selected(self, state: State) -> None:
        """Nothing."""

    def finish(self, result: RunResult) -> RunResult:
        """The result, with its folder."""
        result._folder = self.path
        return result


def differing_keys(old: Any, new: Any, prefix: str = "") -> list[tuple[str, Any, Any]]:
    """(dotted key, old value, new value) wherever two nested dictionaries differ."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return [] if old == new else [(prefix, old, new)]
    keys = [*old, *(key for key in new if key not in old)]
    return [
        difference
        for key in keys
        for difference in differing_keys(old.get(key), new.get(key), f"{prefix}.{key}" if prefix else key)
    ]


def read_result(path: str | Path) -> RunResult:
    """The result of a completed run folder. Raises `RunError` if there is none."""
    path = Path(path)
    if not (path / "result.json").is_file():
        raise RunError(f"{path} holds no completed run (no result.json)")
    try:
        result = RunResult.model_validate(read_json(path / "result.json"))
    except ValidationError:
        raise RunError(f"{path / 'result.json'} is not the result of a run of datk {__version__}") from None
    result._folder = path
    return result
