"""Run folders: what is written, in which order, and how it survives an interruption.

config.json        resolved configuration, itself valid for --config
environment.json   versions, device, command, checksums of the data and of the weights that it starts from
                   (`init`), each time the run was started
splits.npz         row numbers of every part of both domains
metrics.jsonl, checkpoints/   see `datk.training.checkpoints`
log.txt            what was shown, as plain lines
result.json        written last: there if and only if the run is complete
"""

import platform
import sys
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from datk.base import processes
from datk.base.devices import describe_device
from datk.base.errors import ConfigError, DatkError, RunError
from datk.base.files import only_one, read_json, write_atomically, write_json, writing
from datk.base.version import __version__
from datk.config import merge
from datk.config.resolve import Experiment, resolve
from datk.runs.result import RunResult, read_result
from datk.training.checkpoints import Checkpoints, weights_checksum

WITHOUT_EFFECT = ("hooks",)
"""Keys of a configuration that change no number: a run may be resumed with others."""


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
        "processes": processes.size(),
        "command": sys.argv,
    }


class RunFolder:
    """One run's folder, open for writing.

    Args:
        writes: False in all but the first of several processes, which only read.
    """

    def __init__(self, path: Path, writes: bool = True) -> None:
        self.path, self.writes = path, writes
        self.files = Checkpoints(path, writes)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Make the folder and keep others from writing into it. Raises `RunError` if one is at it. A folder
        that nothing came into is removed."""
        if not self.writes:
            yield
            return
        if self.path.exists() and not self.path.is_dir():
            raise RunError(f"{self.path} is a file; --out names a folder")
        new = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        busy = f"another process writes into {self.path}; wait until it is done, or choose another --out"
        try:
            with only_one(self.path, RunError(busy)):
                yield
        finally:
            for folder in new:
                if folder.is_dir() and not any(folder.iterdir()):
                    folder.rmdir()

    def check(self, experiment: Experiment, *, resume: bool = False, force: bool = False) -> None:
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
            self._check_same(experiment)
        elif not force:
            raise RunError(f"{self.path} holds a run already; --resume goes on with it, --force replaces it")

    def _check_same(self, experiment: Experiment) -> None:
        try:
            recorded = recorded_experiment(self.path)
        except DatkError as error:
            raise RunError(f"cannot resume {self.path}: {error}") from None
        different = [
            (key, old, new)
            for key, old, new in differences(recorded, experiment)
            if not (key == "init" and self._starts_alike(old, new))
        ]
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

    def _starts_alike(self, old: str | None, new: str | None) -> bool:
        """Whether the run started from the weights in a folder `new`, which `old` was the path of."""
        if old is None or new is None:
            return old == new
        if Path(old).expanduser().resolve() == Path(new).expanduser().resolve():
            return True
        recorded = {start["init_sha256"] for start in self.starts() if "init_sha256" in start}
        try:
            return (recorded or {first_weights(old)}) == {first_weights(new)}
        except RunError:
            return False

    def open(self, experiment: Experiment, *, force: bool = False) -> None:
        """Write config.json into the folder, emptied of an earlier run with `force`."""
        if not self.writes:
            return
        if force:
            self._clear()
        if not (self.path / "config.json").is_file():
            write_json(self.path / "config.json", experiment.config.model_dump(mode="json"))
        with writing(self.path / "checkpoints"):
            (self.path / "checkpoints").mkdir(exist_ok=True)

    def _clear(self) -> None:
        """Remove what a run writes; a file of the user's in the folder stays."""
        ours = ("result.json", "checkpoints/last.pt", "checkpoints/selected.safetensors", "environment.json")
        for name in (*ours, "metrics.jsonl", "log.txt", "splits.npz", "config.json"):
            (self.path / name).unlink(missing_ok=True)

    def result(self) -> RunResult | None:
        """The result of a completed run, None for one that is not."""
        return read_result(self.path) if (self.path / "result.json").is_file() else None

    def write_record(
        self, splits: dict[str, Any], data_sha256: str, device: torch.device, init: str | None = None
    ) -> None:
        """Write splits.npz, and into environment.json that the run was started here and now, from the weights
        in the run folder `init`. Raises `RunError` if a run to be resumed had other data, or other rows for
        its parts."""
        if not self.writes:
            return
        starts = self.starts()
        if any(start.get("data_sha256", data_sha256) != data_sha256 for start in starts):
            raise RunError(
                f"cannot resume {self.path}: the data have changed since it was started; "
                "restore them, or choose another --out"
            )
        if starts and self._splits_differ(splits):
            raise RunError(
                f"cannot resume {self.path}: datk {__version__} deals the rows to training, validation and "
                f"test otherwise than its splits.npz, which datk {_version(self.path)} wrote; go on with "
                "that version, or choose another --out"
            )
        made_of = {"data_sha256": data_sha256, "init_sha256": None if init is None else first_weights(init)}
        starts.append(environment(device) | made_of)
        write_json(self.path / "environment.json", starts)
        write_atomically(self.path / "splits.npz", lambda file: np.savez_compressed(file, **splits))

    def _splits_differ(self, splits: Mapping[str, Any]) -> bool:
        """Whether splits.npz, where it can be read, gives a part other rows."""
        try:
            with np.load(self.path / "splits.npz", allow_pickle=False) as recorded:
                parts = [part for part in splits if part in recorded]
                return not all(np.array_equal(recorded[part], splits[part]) for part in parts)
        except (OSError, ValueError, zipfile.BadZipFile):
            return False

    def starts(self) -> list[dict[str, Any]]:
        """What environment.json says of each time the run was started."""
        path = self.path / "environment.json"
        recorded = read_json(path) if path.is_file() else []
        # The first versions kept the last start alone.
        return [recorded] if isinstance(recorded, dict) else list(recorded)

    def finish(self, result: RunResult) -> RunResult:
        """Write result.json, the mark of a completed run."""
        if self.writes:
            write_json(self.path / "result.json", result.model_dump(mode="json"))
        result._folder = self.path
        return result


def recorded_experiment(path: Path) -> Experiment:
    """The experiment of a run folder, with what has become an option since then as it was: at its default.

    Raises:
        ConfigError: config.json is missing or malformed, or has an option or a value that this version of
            datk does not know.
        PluginError: a component that is not installed.
    """
    config = merge.read_file(path / "config.json")
    config = {key: value for key, value in config.items() if key not in WITHOUT_EFFECT}
    try:
        return resolve(config=config)
    except ConfigError as error:
        raise ConfigError(
            f"{path / 'config.json'} was written by another version of datk or of a plugin "
            f"(by datk {_version(path)}, this is datk {__version__}): {error}"
        ) from None


def _version(path: Path) -> str:
    """The version of datk that a run was started with last."""
    try:
        return str(RunFolder(path).starts()[-1]["datk"])
    except (RunError, LookupError, TypeError):
        return "unknown"


def first_weights(init: str) -> str:
    """Checksum of the weights in the run folder that a run starts from. Raises `RunError` if there are
    none."""
    return weights_checksum(Checkpoints(Path(init).expanduser()).load_selected())


def differences(old: Experiment, new: Experiment) -> list[tuple[str, Any, Any]]:
    """(dotted key, old value, new value) wherever two experiments may come to other numbers."""
    ours, theirs = (each.config.model_dump(mode="json", exclude=set(WITHOUT_EFFECT)) for each in (old, new))
    return differing_keys(ours, theirs)


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
