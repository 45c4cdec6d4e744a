"""Running a suite: every entry with every seed, those that are done already left alone.

A run's folder is named for a hash of what differs from the defaults, of its data and of the weights that it
starts from: a complete run is not repeated, an interrupted one goes on, a changed option makes a new one.
Where there is no such folder, another one of the cell may hold the run, named by an earlier version.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from datk.base.errors import DatkError, RunError
from datk.base.files import write_json
from datk.bench.suite import Entry
from datk.config import merge
from datk.config.faults import exception_text, plugin_fault
from datk.config.models import Options
from datk.config.resolve import Experiment, changed
from datk.data.inspection import inspect_pair
from datk.data.published.records import MissingDataError
from datk.interfaces import DomainPair
from datk.runs.folder import RunFolder, differences, first_weights, recorded_experiment
from datk.runs.result import RunResult, read_result
from datk.runs.run import execute


@dataclass(frozen=True)
class Outcome:
    """What came of one entry with one seed."""

    entry: Entry
    seed: int
    status: Literal["ran", "was done", "data missing", "failed"]
    result: RunResult | None = None
    error: str = ""


def run_suite(
    entries: Sequence[Entry],
    seeds: Sequence[int],
    out: Path,
    *,
    epochs: int | None = None,
    overrides: Sequence[str] = (),
    jobs: int = 1,
    tell: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Run all entries with all seeds; a run that fails does not stop the others.

    Args:
        out: folder of the runs.
        epochs: in place of those of the suite.
        overrides: `key=value`, over what the suite says.
        jobs: runs at a time, each in a process of its own if more than one.
        tell: told of every outcome, as soon as it is there.

    Returns:
        The outcomes, entry by entry.

    Raises:
        ConfigError, PluginError: an entry that cannot be resolved, before any is run.
    """
    experiments = {
        (entry.key, seed): entry.experiment(seed, epochs, overrides) for entry in entries for seed in seeds
    }
    outcomes: dict[tuple[str, int], Outcome] = {}
    runner = _Runner(out, jobs)

    def run(entry: Entry, seed: int) -> Outcome:
        start = outcomes.get((str(entry.cell.init), seed))
        outcome = runner.run(entry, seed, experiments[entry.key, seed], start)
        if not runner.stopping:
            tell(outcome)
        return outcome

    with ThreadPoolExecutor(max_workers=jobs) as pool:
        try:
            for wave in _waves(entries):
                tasks = [(entry, seed) for entry in wave for seed in seeds]
                for outcome in _in_turn(pool, run, tasks) if jobs > 1 else (run(*task) for task in tasks):
                    outcomes[outcome.entry.key, outcome.seed] = outcome
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            runner.stop()
            raise
    return [outcomes[entry.key, seed] for entry in entries for seed in seeds]


def _in_turn(
    pool: ThreadPoolExecutor, run: Callable[[Entry, int], Outcome], tasks: Sequence[tuple[Entry, int]]
) -> Iterator[Outcome]:
    futures = [pool.submit(run, *task) for task in tasks]
    for future in futures:
        yield future.result()


def _waves(entries: Sequence[Entry]) -> list[list[Entry]]:
    """Entries in groups each of which needs the runs of earlier groups only."""
    depth: dict[str, int] = {}
    for entry in entries:
        depth[entry.key] = 0 if entry.cell.init is None else depth[entry.cell.init] + 1
    return [[e for e in entries if depth[e.key] == level] for level in range(max(depth.values()) + 1)]


class _Runner:
    """Runs one entry at a time here, or several in processes of their own."""

    def __init__(self, out: Path, jobs: int) -> None:
        self.out, self.jobs = out, jobs
        self.checksums: dict[str, str] = {}
        self.pair: tuple[str, DomainPair] | None = None
        self.reading = threading.Lock()
        self.processes: set[subprocess.Popen[str]] = set()
        self.stopping = False

    def stop(self) -> None:
        """End the runs in processes of their own, wherever they are: what is written is always whole."""
        self.stopping = True
        for process in list(self.processes):
            process.terminate()

    def run(self, entry: Entry, seed: int, experiment: Experiment, start: Outcome | None) -> Outcome:
        try:
            experiment, weights = _start(entry, experiment, start)
            folder = self._folder(entry, seed, experiment, weights)
            if (folder / "result.json").is_file():
                return Outcome(entry, seed, "was done", read_result(folder))
            if self.jobs > 1:
                self._run_in_process(experiment, folder)
            else:
                execute(experiment, folder, resume=True, pair=self._pair(experiment))
            return Outcome(entry, seed, "ran", read_result(folder))
        except MissingDataError as error:
            return Outcome(entry, seed, "data missing", error=str(error))
        except DatkError as error:
            return Outcome(entry, seed, "failed", error=str(error))
        except (Exception, SystemExit) as error:  # a fault of a plugin must not cost the other runs
            fault, _ = plugin_fault(error) or (exception_text(error), True)
            return Outcome(entry, seed, "failed", error=fault)

    def _run_in_process(self, experiment: Experiment, folder: Path) -> None:
        """Run with a share of the processor's cores. Raises `RunError` if it fails."""
        threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, (os.cpu_count() or 1) // self.jobs))
        with tempfile.TemporaryDirectory() as temporary:
            config = Path(temporary) / "config.json"
            write_json(config, experiment.config.model_dump(mode="json"))
            command: list[Any] = [sys.executable, "-m", "datk", "run", "--config", config, "--out", folder]
            process = subprocess.Popen(
                [*command, "--resume", "--quiet"],
                env=os.environ | {"OMP_NUM_THREADS": threads},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,  # Ctrl-C is ours to pass on, once
            )
            self.processes.add(process)
            if self.stopping:
                process.terminate()
            said = process.communicate()[1].strip().splitlines()
            self.processes.discard(process)
        if process.returncode:
            ended = f"its process ended with {process.returncode}"
            raise RunError(said[-1].removeprefix("error: ") if said else ended)

    def _folder(self, entry: Entry, seed: int, experiment: Experiment, weights: str | None) -> Path:
        data = self._checksum(experiment)
        runs = self.out / entry.key
        folder = runs / f"seed-{seed}-{_digest(changed(experiment), weights, data)}"
        if _is_another(folder, experiment):  # of a version with other defaults
            folder = runs / f"seed-{seed}-{_digest(_whole(experiment), weights, data)}"
        if not folder.exists():
            for earlier in sorted(runs.glob(f"seed-{seed}-*")):
                if _holds(earlier, experiment, weights, data):
                    return earlier
        return folder

    def _checksum(self, experiment: Experiment) -> str:
        key = _pair_key(experiment)
        with self.reading:
            if key not in self.checksums:
                task = experiment.task.cls(experiment.task.config)
                self.checksums[key] = inspect_pair(self._pair(experiment), task).checksum
                if self.jobs > 1:
                    self.pair = None  # each process has its own
            return self.checksums[key]

    def _pair(self, experiment: Experiment) -> DomainPair:
        """The pair, made once for runs that follow one another."""
        key = _pair_key(experiment)
        if self.pair is None or self.pair[0] != key:
            self.pair = None  # two at a time may be too large
            self.pair = key, experiment.pair.cls(experiment.pair.config)
        return self.pair[1]


def _digest(config: Options, weights: str | None, data: str) -> str:
    """What names a run: the start of a hash of its configuration, its first weights and its data."""
    content = json.dumps([config | {"init": weights}, data], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:12]


def _whole(experiment: Experiment) -> Options:
    return experiment.config.model_dump(mode="json")


def _is_another(folder: Path, experiment: Experiment) -> bool:
    """Whether a folder that has an experiment's name holds a run with other options."""
    try:
        return bool(_other_options(recorded_experiment(folder), experiment))
    except DatkError:  # nothing there, or of a version that knows more: the name is all there is to go by
        return False


def _holds(folder: Path, experiment: Experiment, weights: str | None, data: str) -> bool:
    """Whether a folder holds a run of an experiment, from the same first weights and on the same data."""
    try:
        recorded = recorded_experiment(folder)
        if _other_options(recorded, experiment):
            return False
        # The first versions, which did not record what weights they started from, named a folder for the
        # whole configuration.
        written = merge.read_file(folder / "config.json")
        if folder.name.rpartition("-")[2] == _digest(written, weights, data):
            return True
        starts = RunFolder(folder).starts()
        made_of = [(start.get("data_sha256"), start.get("init_sha256", "unknown")) for start in starts]
        return set(made_of) == {(data, weights)}
    except DatkError:
        return False


def _other_options(recorded: Experiment, experiment: Experiment) -> list[str]:
    """Options that two experiments have otherwise; where their first weights lie is none."""
    return [key for key, _, _ in differences(recorded, experiment) if key != "init"]


def _pair_key(experiment: Experiment) -> str:
    return json.dumps(experiment.config.pair, sort_keys=True)


def _start(entry: Entry, experiment: Experiment, start: Outcome | None) -> tuple[Experiment, str | None]:
    """The experiment with the folder of the run it starts from, and the checksum of the weights there."""
    init = experiment.config.init
    if entry.cell.init is not None:
        if start is None or start.result is None:
            reason = start.status if start else "not run"
            error = MissingDataError if reason == "data missing" else RunError
            raise error(f"it starts from {entry.cell.init}, which has no result ({reason})")
        init = str(start.result.folder)
    if init is None:
        return experiment, None
    config = experiment.config.model_copy(update={"init": init})
    return replace(experiment, config=config), first_weights(init)
