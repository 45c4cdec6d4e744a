"""Running a suite: every entry with every seed, those that are done already left alone.

A run's folder is named for a hash of what differs from the defaults, of its data and of the weights that it
starts from: a complete run is not repeated, an interrupted one goes on, a changed option makes a new one.
Where there is no such folder, another one of the cell may hold the run, named by an earlier version.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from datk.base.errors import BusyError, ConfigError, DatkError, RunError
from datk.base.files import only_one
from datk.bench.suite import Entry
from datk.bench.worker import ERROR, SECONDS_BETWEEN_LOOKS, request
from datk.config import merge
from datk.config.faults import exception_text, plugin_fault
from datk.config.models import Options
from datk.config.resolve import Experiment, changed
from datk.data.cleaning import Cleaning
from datk.data.inspection import inspect_pair
from datk.data.published.records import MissingDataError
from datk.interfaces import DomainPair
from datk.runs.again import labels_changed
from datk.runs.earlier import has_former_defaults
from datk.runs.folder import RunFolder, differences, first_weights, recorded_experiment
from datk.runs.recognize import is_run
from datk.runs.result import RunResult, read_result
from datk.runs.run import execute


@dataclass(frozen=True)
class Outcome:
    """What came of one entry with one seed."""

    entry: Entry
    seed: int
    status: Literal["ran", "was done", "scored again", "data missing", "failed"]
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
    note: Callable[[str], None] = lambda text: None,
) -> list[Outcome]:
    """Run all entries with all seeds; a run that fails does not stop the others.

    Args:
        out: folder of the runs.
        epochs: in place of those of the suite.
        overrides: `key=value`, over what the suite says; an option of a method is one of the cells that have
            it.
        jobs: runs at a time, each in a process of its own if more than one.
        tell: told of every outcome, as soon as it is there.
        note: told what the user should know meanwhile.

    Returns:
        The outcomes, entry by entry.

    Raises:
        ConfigError, PluginError: an entry that cannot be resolved, before any is run, or an override that is
            for none.
    """
    taken = {entry.key: [each for each in overrides if entry.takes(each)] for entry in entries}
    for override in overrides:
        if not any(override in each for each in taken.values()):
            raise ConfigError(f"--set {override}: no cell of the suite has that method")

    def experiments_of(former: bool = False) -> dict[tuple[str, int], Experiment]:
        return {
            (entry.key, seed): entry.experiment(seed, epochs, taken[entry.key], former)
            for entry in entries
            for seed in seeds
        }

    experiments = experiments_of()
    outcomes: dict[tuple[str, int], Outcome] = {}
    runner = _Runner(out, jobs, note)
    if any((out / entry.key).is_dir() for entry in entries):
        former = experiments_of(former=True)
        if runner.began(entries, former, former=True) and not runner.began(entries, experiments):
            experiments = former  # the runs of a table are split by one rule
            note(
                f"{out} was begun by an earlier version: split=grouped and data.split_seed=run, as there, "
                "where the suite says nothing; another --out takes today's defaults"
            )

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


def _end(process: subprocess.Popen[str]) -> None:
    """End a worker and what it started."""
    if hasattr(os, "killpg"):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)  # it leads a group of its own
    else:
        process.terminate()


def _why(code: int, last_line: str) -> str:
    """Why a worker failed, by its exit code and the last that it said."""
    if last_line.startswith(ERROR):
        return last_line.removeprefix(ERROR)
    ended = f"its process ended with {code}" if code > 0 else f"its process was ended by signal {-code}"
    return f"{ended} ({last_line})" if last_line else ended


class _Runner:
    """Runs one entry at a time here, or several in processes of their own."""

    def __init__(self, out: Path, jobs: int, note: Callable[[str], None]) -> None:
        self.out, self.jobs, self.note = out, jobs, note
        self.checksums: dict[str, str] = {}
        self.pair: tuple[str, DomainPair] | None = None
        self.reading = threading.Lock()
        self.processes: set[subprocess.Popen[str]] = set()
        self.stopping = False

    def stop(self) -> None:
        """End the runs in processes of their own, wherever they are: what is written is always whole."""
        self.stopping = True
        for process in list(self.processes):
            _end(process)

    def began(
        self,
        entries: Sequence[Entry],
        experiments: Mapping[tuple[str, int], Experiment],
        former: bool = False,
    ) -> bool:
        """Whether there is a run of any of the experiments that start from no other cell's; with `former`,
        one of a version with other defaults."""
        for entry in entries:
            for (key, seed), experiment in experiments.items():
                if key == entry.key and entry.cell.init is None:
                    with suppress(Exception):  # told when it is run
                        folder = self._folder(entry, seed, *_start(entry, experiment, None))
                        if is_run(folder) and has_former_defaults(folder) == former:
                            return True
        return False

    def run(self, entry: Entry, seed: int, experiment: Experiment, start: Outcome | None) -> Outcome:
        try:
            experiment, weights = _start(entry, experiment, start)
            folder = self._folder(entry, seed, experiment, weights)
            self._wait_until_free(folder)
            done = read_result(folder) if (folder / "result.json").is_file() else None
            if done is not None and not self._labels_changed(experiment, done):
                return Outcome(entry, seed, "was done", done)
            if self.jobs > 1:
                self._run_in_process(experiment, folder)
            else:
                execute(experiment, folder, resume=True, pair=self._pair(experiment))
            return Outcome(entry, seed, "ran" if done is None else "scored again", read_result(folder))
        except MissingDataError as error:
            return Outcome(entry, seed, "data missing", error=str(error))
        except DatkError as error:
            return Outcome(entry, seed, "failed", error=str(error))
        except (Exception, SystemExit) as error:  # a fault of a plugin must not cost the other runs
            fault, _ = plugin_fault(error) or (exception_text(error), True)
            return Outcome(entry, seed, "failed", error=fault)

    def _run_in_process(self, experiment: Experiment, folder: Path) -> None:
        """Run with a share of the processor's cores. Raises `RunError` if it fails."""
        with self.reading:
            self.pair = None  # each process has its own
        threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, (os.cpu_count() or 1) // self.jobs))
        process = subprocess.Popen(
            [sys.executable, "-m", "datk.bench.worker"],
            env=os.environ | {"OMP_NUM_THREADS": threads},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="backslashreplace",
            start_new_session=True,  # Ctrl-C is ours to pass on, once
        )
        assert process.stdin is not None
        assert process.stderr is not None
        self.processes.add(process)
        if self.stopping:
            _end(process)
        with process:
            with suppress(BrokenPipeError):  # it could not even begin, and says why
                process.stdin.write(request(experiment.config.model_dump(mode="json"), folder))
                process.stdin.flush()
            # The input stays open, as its end is that of the worker.
            said = deque((line.strip() for line in process.stderr if line.strip()), maxlen=1)
            process.wait()
        self.processes.discard(process)
        if process.returncode:
            raise RunError(_why(process.returncode, said[0] if said else ""))

    def _wait_until_free(self, folder: Path) -> None:
        """Until no other process writes into a folder, for instance a run of a bench that was killed."""
        told = False
        while folder.is_dir() and not self.stopping:
            try:
                with only_one(folder, BusyError(f"another process writes into {folder}")):
                    return
            except BusyError as busy:
                if not told:
                    self.note(f"{busy}; waiting until it is done")
                told = True
            time.sleep(SECONDS_BETWEEN_LOOKS)

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
                missing = Cleaning.of(experiment.config.data).missing
                self.checksums[key] = inspect_pair(self._pair(experiment), task, missing=missing).checksum
                if self.jobs > 1:
                    self.pair = None  # each process has its own
            return self.checksums[key]

    def _labels_changed(self, experiment: Experiment, done: RunResult) -> bool:
        """Whether a run that is done was scored by target labels that are others now."""
        if done.answers_sha256 is None:
            return False
        with self.reading:
            return labels_changed(done, experiment, self._pair(experiment))

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
