"""Run folders: what is written, in which order, and how it survives an interruption.

config.json        resolved configuration, itself valid for --config
environment.json   versions, device, command, checksums of the data and of the weights that it starts from
                   (`init`), each time the run was started
splits.npz         row numbers of every part of both domains
outputs.npz        what the selected network says of their rows, see `datk.runs.outputs`
metrics.jsonl, checkpoints/   see `datk.training.checkpoints`
log.txt            what was shown, as plain lines
result.json        written last: there if and only if the run is complete
"""

import secrets
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from datk.base.errors import BusyError, ConfigError, DatkError, RunError
from datk.base.files import only_one, read_json, remove_empty, write_atomically, write_json, writing
from datk.base.version import __version__
from datk.config import merge
from datk.config.resolve import Component, Experiment, resolve
from datk.runs import candidates, outputs
from datk.runs.earlier import has_former_defaults, with_defaults_of
from datk.runs.environment import changes, environment
from datk.runs.recognize import FILES, is_empty, is_run, refuse_links, seeds_in
from datk.runs.result import RunResult, read_result
from datk.training.checkpoints import Checkpoints, weights_checksum
from datk.training.progress import not_longer
from datk.training.schedules import STRETCHED

WITHOUT_EFFECT = ("hooks",)
"""Keys of a configuration that change no number: a run may be resumed with others."""

Difference = tuple[str, Any, Any]
"""Dotted key of an option, its old value and its new one."""


class RunFolder:
    """One run's folder, open for writing.

    Args:
        writes: False in all but the first of several processes, which only read.
    """

    def __init__(self, path: Path, writes: bool = True) -> None:
        self.path, self.writes = path, writes
        self.files = Checkpoints(path, writes)
        self.moved: list[Difference] = []
        """Options of the pair that a resumed run had otherwise: the checksum of the data decides."""
        self.longer = False
        """Whether a resumed run is to be trained for more epochs than before."""
        self.former: list[Difference] = []
        """Defaults of the version that began a resumed run, which are others now."""

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
        with only_one(self.path, BusyError(busy)):
            try:
                yield
            finally:  # while it is locked: nobody else may have come into it
                remove_empty(new)

    def as_begun(self, experiment: Experiment) -> Experiment:
        """The experiment of a run to be resumed that an earlier version began: with the defaults of that
        version where it has those of today."""
        if not (is_run(self.path) and has_former_defaults(self.path)):
            return experiment
        begun = with_defaults_of(experiment, recorded_experiment(self.path, pair=experiment.pair))
        self.former = differences(experiment, begun)
        return begun

    def check(self, experiment: Experiment, *, resume: bool = False, force: bool = False) -> None:
        """See whether a run may be written here, before anything is computed or removed.

        Raises:
            RunError: the folder holds a run and neither `resume` nor `force` was asked for, or another run
                than the one to be resumed, or files that are no run, or links.
        """
        if self.path.exists() and not self.path.is_dir():
            raise RunError(f"{self.path} is a file; --out names a folder")
        if not self.path.is_dir():
            return
        if not (resume and (self.path / "result.json").is_file()):
            refuse_links(self.path)
        if is_empty(self.path):
            return
        if not is_run(self.path):
            if seeds_in(self.path):
                raise RunError(
                    f"{self.path} holds runs of several seeds; say which with --seed, or choose another --out"
                )
            raise RunError(f"{self.path} is not empty and holds no run; choose another --out")
        if resume:
            self._check_same(experiment)
        elif not force:
            raise RunError(f"{self.path} holds a run already; --resume goes on with it, --force replaces it")

    def _check_same(self, experiment: Experiment) -> None:
        try:
            recorded = recorded_experiment(self.path, pair=experiment.pair)
        except DatkError as error:
            raise RunError(f"cannot resume {self.path}: {error}") from None
        different = [
            (key, old, new)
            for key, old, new in differences(recorded, experiment)
            if not (key == "init" and self._starts_alike(old, new))
        ]
        if recorded.pair.label == experiment.pair.label and self._knows_its_data():
            self.moved = [each for each in different if each[0].startswith("pair.")]
            different = [each for each in different if each not in self.moved]
        before, now = recorded.config.train.epochs, experiment.config.train.epochs
        more_epochs = before is not None and now is not None and before < now
        self.longer = more_epochs and [key for key, _, _ in different] == ["train.epochs"]
        if self.longer:
            demand_independent_of_epochs(self.path, experiment)
        elif different:
            more = f" and {len(different) - 1} more" if len(different) > 1 else ""
            raise RunError(
                f"cannot resume {self.path}: {difference_text(different[0])}{more}; "
                "repeat the run's own options, or choose another --out"
            )

    def _knows_its_data(self) -> bool:
        """Whether the checksum of the data can decide, whatever the options of the pair are."""
        return any("data_sha256" in start for start in self.starts())

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

    def open(self, experiment: Experiment, *, resume: bool = False, force: bool = False) -> None:
        """Write config.json into the folder, emptied of an earlier run with `force`.

        Raises:
            RunError: a run that was not to be resumed or replaced came into the folder in the meantime, as it
                may where two processes cannot lock it, or what is there cannot be written.
        """
        if not self.writes:
            return
        refuse_links(self.path)
        self.check(experiment, resume=resume, force=force)
        if force:
            self._clear()
        if force or not (self.path / "config.json").is_file():
            self._write_config(experiment)
        with writing(self.path / "checkpoints"):
            (self.path / "checkpoints").mkdir(exist_ok=True)

    def take_over(self, experiment: Experiment) -> None:
        """Write down the options with which a resumed run goes on, where they are others: those of its pair,
        whose data are the same, and the number of epochs, for which a completed run is no longer complete."""
        if not self.writes or not (self.moved or self.longer):
            return
        if self.longer:
            with writing(self.path):
                (self.path / "result.json").unlink(missing_ok=True)
        self._write_config(experiment)

    def _write_config(self, experiment: Experiment) -> None:
        write_json(self.path / "config.json", experiment.config.model_dump(mode="json"))

    def _clear(self) -> None:
        """Remove what a run and its candidates write, but for config.json, which tells that this is a run
        until it is replaced; a file of the user's in the folder stays."""
        with writing(self.path):
            for name in FILES:
                if name != "config.json":
                    (self.path / name).unlink(missing_ok=True)
            candidates.clear(self.path)

    def result(self) -> RunResult | None:
        """The result of a completed run, None for one that is not."""
        return read_result(self.path) if (self.path / "result.json").is_file() else None

    def write_record(
        self,
        splits: dict[str, Any],
        data_sha256: str,
        device: torch.device,
        init_sha256: str | None = None,
        hooks: Sequence[Mapping[str, str]] = (),
        selection_sha256: str | None = None,
    ) -> None:
        """Write splits.npz, and into environment.json that the run was started here and now, from weights
        with that checksum and with these hooks. Raises `RunError` if a run to be resumed had other data,
        other rows for its parts, other first weights, or other target labels for a selector that goes by
        them."""
        if not self.writes:
            return
        starts = self.starts()
        if any(start.get("data_sha256", data_sha256) != data_sha256 for start in starts):
            option = f" ({difference_text(self.moved[0])})" if self.moved else ""
            raise RunError(
                f"cannot resume {self.path}: the data have changed since it was started{option}; "
                "restore them, or choose another --out"
            )
        if any(start.get("init_sha256", init_sha256) != init_sha256 for start in starts):
            raise RunError(
                f"cannot resume {self.path}: the weights that it started from have changed since; "
                "restore them, or choose another --out"
            )
        if any(start.get("selection_sha256", selection_sha256) != selection_sha256 for start in starts):
            raise RunError(
                f"cannot resume {self.path}: the target labels by which train.select=oracle chooses have "
                "changed since it was started; remove the folder, or --force, to train it again"
            )
        if starts and self._splits_differ(splits):
            raise RunError(
                f"cannot resume {self.path}: datk {__version__} deals the rows to training, validation and "
                f"test otherwise than its splits.npz, which datk {_version(self.path)} wrote; go on with "
                "that version, or choose another --out"
            )
        made_of = {"data_sha256": data_sha256, "init_sha256": init_sha256}
        if selection_sha256 is not None:
            made_of["selection_sha256"] = selection_sha256
        self.files.mark = secrets.token_hex(8)
        starts.append(environment(device) | made_of | {"hooks": list(hooks), "mark": self.files.mark})
        write_json(self.path / "environment.json", starts)
        write_atomically(self.path / "splits.npz", lambda file: np.savez_compressed(file, **splits))

    def _splits_differ(self, splits: Mapping[str, Any]) -> bool:
        """Whether splits.npz, where it can be read, gives a part other rows."""
        try:
            with np.load(self.path / "splits.npz", allow_pickle=False) as recorded:
                parts = [part for part in splits if part in recorded]
                return not all(np.array_equal(recorded[part], splits[part]) for part in parts)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile):
            return False

    def starts(self) -> list[dict[str, Any]]:
        """What environment.json says of each time the run was started."""
        path = self.path / "environment.json"
        recorded = read_json(path) if path.is_file() else []
        # The first versions kept the last start alone.
        starts = [recorded] if isinstance(recorded, dict) else recorded
        if not (isinstance(starts, list) and all(isinstance(start, dict) for start in starts)):
            raise RunError(f"{path} is damaged: it holds no list of starts; --force starts the run again")
        return list(starts)

    def notes(self) -> list[str]:
        """What those who read the numbers must know of the run's starts: what was another one at a later
        start."""
        return [
            *(f"{key}={old}, as in the version that began this run" for key, _, old in self.former),
            *(f"{difference_text(each)}: the data are the same" for each in self.moved),
            *changes(self.starts()),
        ]

    def hooks(self) -> list[dict[str, str]]:
        """The hooks of all starts, each once."""
        hooks: list[dict[str, str]] = []
        for start in self.starts():
            hooks += [hook for hook in start.get("hooks", ()) if hook not in hooks]
        return hooks

    def finish(self, result: RunResult, kept: outputs.Parts) -> RunResult:
        """Write outputs.npz, then result.json, the mark of a completed run."""
        if self.writes:
            self.files.demand_ours()
            outputs.write(self.path, kept)
            write_json(self.path / "result.json", result.model_dump(mode="json"))
        result._folder = self.path
        return result


def demand_independent_of_epochs(path: Path, experiment: Experiment) -> None:
    """Raise `RunError` if what was trained so far depends on how many epochs there were to be, as far as the
    configuration says; a term that looks at the progress is found when it does (see `Trainer`)."""
    train, stretched = experiment.config.train, None
    if train.schedule in STRETCHED:
        stretched = f"train.schedule={train.schedule} is"
    elif train.label_shift == "estimate":
        stretched = "the warm-up before train.label_shift=estimate is"
    for chosen in experiment.terms:
        if stretched is None and chosen.config.ramp != "constant":
            stretched = f"the weight of {chosen.label} (ramp={chosen.config.ramp}) is"
    if stretched is not None:
        assert train.epochs is not None, "it is what the run is to have more of"
        raise RunError(not_longer(path, train.epochs, f"{stretched} stretched over all epochs"))


def recorded_experiment(path: Path, pair: Component | None = None) -> Experiment:
    """The experiment of a run folder, with what has become an option since then as it was: at its default.

    Args:
        pair: a pair by whose file the recorded one is replaced, if both are files with a class of that name:
            the file may have moved.

    Raises:
        ConfigError: config.json is missing or malformed, or has an option or a value that this version of
            datk does not know.
        PluginError: a component that is not installed.
    """
    config = merge.read_file(path / "config.json")
    config = {key: value for key, value in config.items() if key not in WITHOUT_EFFECT}
    of_file = pair is not None and not pair.plugin.dist
    if pair is not None and of_file and isinstance(options := config.get("pair"), dict):
        same = str(options.get("name")).endswith(f".py:{pair.label}")
        config["pair"] = options | ({"name": pair.reference} if same else {})
    try:
        return resolve(config=config, former=True)
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
    none, or several."""
    candidates.demand_one_model(init)
    return weights_checksum(Checkpoints(Path(init).expanduser()).load_selected())


def difference_text(difference: Difference) -> str:
    """A difference on a line."""
    key, *values = difference
    was, is_now = (
        "a table" if isinstance(value, dict) else "not there" if value is None else repr(value)
        for value in values
    )
    return f"{key} was {was} and is now {is_now}"


def differences(old: Experiment, new: Experiment) -> list[Difference]:
    """(dotted key, old value, new value) wherever two experiments may come to other numbers."""
    ours, theirs = (each.config.model_dump(mode="json", exclude=set(WITHOUT_EFFECT)) for each in (old, new))
    return differing_keys(ours, theirs)


def differing_keys(old: Any, new: Any, prefix: str = "") -> list[Difference]:
    """(dotted key, old value, new value) wherever two nested dictionaries differ."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return [] if old == new else [(prefix, old, new)]
    keys = [*old, *(key for key in new if key not in old)]
    return [
        difference
        for key in keys
        for difference in differing_keys(old.get(key), new.get(key), f"{prefix}.{key}" if prefix else key)
    ]
