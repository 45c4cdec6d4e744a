"""The shallow baselines of a suite, fitted beside its cells and kept in folders as their runs are.

OUT/TABLE/NAME/seed-N-HASH/   outputs.npz, environment.json and result.json, written last

They are fitted to the rows that the cells of their table are trained on, and scored on those that the cells
are scored on. Vectors are what classifiers see as they are; of images they see the features that the network
of the table's source-only cell has learnt with the same seed.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import torch

from datk.base.devices import describe_device, resolve_device
from datk.base.errors import DatkError, RunError
from datk.base.files import write_json
from datk.base.rng import numpy_generator
from datk.base.version import __version__
from datk.bench import shallow
from datk.bench.shallow import Floats
from datk.bench.suite import Cell, Entry, Suite, Table
from datk.bench.sweep import Outcome
from datk.config.faults import exception_text, plugin_fault
from datk.config.models import StandardizeBy
from datk.config.resolve import Experiment, changed
from datk.data.dataset import Dataset, Domain, prepare
from datk.data.splits import RowNumbers
from datk.interfaces import DomainPair
from datk.runs import outputs
from datk.runs.environment import environment
from datk.runs.evaluate import evaluation_of
from datk.runs.folder import RunFolder, recorded_experiment
from datk.runs.result import RunResult, read_result
from datk.training.checkpoints import Checkpoints
from datk.training.objective import Objective
from datk.training.predict import embed
from datk.training.warm_start import initialize, load_initial

BACKBONE = "scikit-learn"
"""What results have in the place of a backbone."""

ROWS, VALUES = 20_000, 50_000_000
"""The most training rows of a domain, and values in them, that a classifier is fitted to."""

CHUNK = 8192
"""Rows that are read at a time."""

CPU = torch.device("cpu")

Logits = npt.NDArray[np.float32]
Read = Callable[[Domain, RowNumbers], Floats]
"""Rows of a domain as a classifier gets them [n, D]."""


def entries_of(suite: Suite, table: Table, on_features: bool = False) -> list[Entry]:
    """The lines of a table that are shallow baselines."""
    where = " on source-only features" if on_features else ""
    return [Entry(suite, table, Cell(name=name, title=f"{name}{where}")) for name in suite.shallow]


def run_shallow(
    suite: Suite,
    outcomes: Sequence[Outcome],
    out: Path,
    tell: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Fit the shallow baselines of a suite with every seed, where that is not done.

    Args:
        outcomes: of its cells.
        out: folder of the runs.
        tell: told of every outcome, as soon as it is there.

    Returns:
        Their outcomes, table by table.
    """
    found: list[Outcome] = []
    pairs = _Pairs()
    for table in suite.table:
        cells = [outcome for outcome in outcomes if outcome.entry.table == table]
        bases = {
            seed: _base([each for each in cells if each.seed == seed], pairs)
            for seed in dict.fromkeys(outcome.seed for outcome in cells)
        }
        entries = entries_of(suite, table, any(isinstance(b, _Base) and b.features for b in bases.values()))
        for base in bases.values():
            beside = _Beside(base, out, pairs) if isinstance(base, _Base) else base
            for entry in entries:
                outcome = replace(beside, entry=entry) if isinstance(beside, Outcome) else beside.run(entry)
                tell(outcome)
                found.append(outcome)
    return found


# --- what they stand beside ----------------------------------------------------------------------------


class _Pairs:
    """Makes each pair once for runs that follow one another."""

    def __init__(self) -> None:
        self.made: tuple[str, DomainPair] | None = None

    def __call__(self, experiment: Experiment) -> DomainPair:
        key = json.dumps(experiment.config.pair, sort_keys=True)
        if self.made is None or self.made[0] != key:
            self.made = None  # two at a time may be too large
            self.made = key, experiment.pair.cls(experiment.pair.config)
        return self.made[1]


@dataclass(frozen=True)
class _Base:
    """The run of a cell that says which rows are what."""

    result: RunResult
    experiment: Experiment
    features: bool
    """Whether rows are the features that its network makes of them."""


def _base(cells: Sequence[Outcome], pairs: _Pairs) -> _Base | Outcome:
    """Of the runs of a table with one seed that of source-only: the first by the source's constants, or else
    the first; of a table without one its first, if samples are vectors. An outcome without a result if there
    is none, or if it cannot be read."""
    done = [(outcome.entry, outcome.result) for outcome in cells if outcome.result is not None]
    if not done:
        missing = all(outcome.status == "data missing" for outcome in cells)
        first = cells[0]
        error = first.error if missing else "no cell of the table has a result with this seed"
        return Outcome(first.entry, first.seed, "data missing" if missing else "failed", error=error)
    plain = [result for _, result in done if result.align == "none" and not result.reg]
    by_source = [result for result in plain if result.standardize == "source"]
    result = (by_source or plain or [result for _, result in done])[0]
    entry = next(entry for entry, each in done if each is result)
    try:
        experiment = recorded_experiment(result.folder)
        features = len(_shape(result, experiment, pairs)) > 1
        if features and not plain:
            raise RunError(
                "shallow baselines of images are on the features of a source-only cell (align = none, no "
                "reg), and none of this table has a result; add one to the suite"
            )
    except DatkError as error:
        return Outcome(entry, result.seed, "failed", error=str(error))
    return _Base(result, experiment, features)


def _shape(result: RunResult, experiment: Experiment, pairs: _Pairs) -> Sequence[int]:
    """The shape of a sample."""
    checkpoints = Checkpoints(result.folder)
    about = checkpoints.selected_about() if checkpoints.selected.is_file() else {}
    shape: Sequence[int] = about.get("shape") or pairs(experiment).source.x.shape[1:]
    return shape


# --- one fit -------------------------------------------------------------------------------------------


class _Input:
    """The rows of both domains as classifiers get them, standardised in one way.

    Raises:
        DatkError: as `datk.data.dataset.prepare`; data or features that are not those of the run.
    """

    def __init__(self, base: _Base, by: StandardizeBy, pairs: _Pairs) -> None:
        experiment = base.experiment
        config, device = experiment.config, CPU
        if base.features:
            device = resolve_device(config.device)
        else:
            data = config.data.model_copy(update={"standardize": by})
            config = config.model_copy(update={"data": data, "init_normalization": "fresh"})
        task = experiment.task.cls(experiment.task.config)
        self.data = prepare(pairs(experiment), task, config, device, experiment.positive)
        if self.data.checksum != base.result.data_sha256:
            raise RunError(f"the data have changed since {base.result.folder}; run the suite again")
        self._read = _features(base, self.data, device) if base.features else _samples
        training = self.data.training
        self.domains = {domain.name: domain for domain in (training.source, training.target)}
        self.constants = {name: (np.zeros(1), np.ones(1)) for name in self.domains}
        self.rows = {name: self._drawn(domain, config.seed) for name, domain in self.domains.items()}
        self.x = {name: self.read(name, rows) for name, rows in self.rows.items()}
        if base.features:  # samples are standardised already
            self.constants = {
                name: (x.mean(axis=0), np.where((std := x.std(axis=0)) > 0, std, 1.0))
                for name, x in self.x.items()
            }
            if by == "source":
                self.constants["target"] = self.constants["source"]
            self.x = {name: _standardized(x, self.constants[name]) for name, x in self.x.items()}

    def read(self, name: str, rows: RowNumbers) -> Floats:
        """Rows of a domain [n, D]."""
        pieces = [rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK)]
        x = np.concatenate([self._read(self.domains[name], piece) for piece in pieces])
        return _standardized(x, self.constants[name])

    def _drawn(self, domain: Domain, seed: int) -> RowNumbers:
        """The training rows, or as many of them, drawn at random, as may be."""
        rows = np.sort(domain.split.train)
        most = max(2, min(ROWS, VALUES // self._read(domain, rows[:1]).shape[1]))
        if len(rows) <= most:
            return rows
        return np.sort(numpy_generator(seed, "shallow", domain.name).choice(rows, most, replace=False))

    def notes(self) -> Iterator[str]:
        """Which training rows were left out."""
        for name, rows in self.rows.items():
            if len(rows) < (all_rows := len(self.domains[name].split.train)):
                yield f"fitted to {len(rows)} of {all_rows} {name} training rows, drawn at random"


def _standardized(x: Floats, constants: tuple[Floats, Floats]) -> Floats:
    mean, std = constants
    return (x - mean) / std


def _samples(domain: Domain, rows: RowNumbers) -> Floats:
    """Vectors as the dataset standardises them."""
    return torch.cat([x for x, _ in domain.in_order(rows)]).double().cpu().numpy()


def _features(base: _Base, data: Dataset, device: torch.device) -> Read:
    """What makes features of samples: the network of a run, with the weights that it selected."""
    initial = load_initial(base.result.folder)
    data.inherit(initial.standardizers)
    training = data.training
    objective = Objective(base.experiment, data.task, data.info, training.source_size, training.target_size)
    initialize(objective, initial)
    objective.place(device, base.experiment.config.train.memory_format)

    def read(domain: Domain, rows: RowNumbers) -> Floats:
        return embed(objective.backbone, domain, rows).astype(np.float64)

    return read


class _Beside:
    """Fits the baselines beside one run."""

    def __init__(self, base: _Base, out: Path, pairs: _Pairs) -> None:
        self.base, self.out, self.pairs = base, out, pairs
        self.input: tuple[str, _Input] | None = None

    def run(self, entry: Entry) -> Outcome:
        """Fit one, where that is not done."""
        name, result, seed = entry.cell.name, self.base.result, self.base.result.seed
        folder = self.out / entry.key / f"seed-{seed}-{self._digest(name)}"
        try:
            with RunFolder(folder).locked():
                done = read_result(folder) if (folder / "result.json").is_file() else None
                if done is not None and done.answers_sha256 == result.answers_sha256:
                    return Outcome(entry, seed, "was done", done)
                self._fit(name, folder)
            return Outcome(entry, seed, "ran" if done is None else "scored again", read_result(folder))
        except DatkError as error:
            return Outcome(entry, seed, "failed", error=str(error))
        except (Exception, SystemExit) as error:  # as in a sweep: the others are not to blame
            fault, _ = plugin_fault(error) or (exception_text(error), True)
            return Outcome(entry, seed, "failed", error=fault)

    def _digest(self, name: str) -> str:
        """The start of a hash of all that the numbers depend on."""
        result = self.base.result
        options = changed(self.base.experiment)
        content = [
            [name, shallow.C, shallow.TOLERANCE, shallow.ITERATIONS, shallow.AXES, ROWS, VALUES],
            result.data_sha256,
            {key: options[key] for key in ("pair", "data", "split") if key in options},
            result.weights_sha256 if self.base.features else None,
        ]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]

    def _fit(self, name: str, folder: Path) -> None:
        """Fit, score and record one."""
        by = cast(StandardizeBy, shallow.STANDARDIZED[name])
        if self.input is None or self.input[0] != by:
            self.input = None  # two at a time may be too large
            self.input = by, _Input(self.base, by, self.pairs)
        given = self.input[1]
        data, classes = given.data, len(given.data.info.classes)
        start = time.perf_counter()
        labels = data.labels[given.rows["source"]]
        classifier = shallow.fit(name, given.x["source"], labels, given.x["target"], classes)
        seconds = time.perf_counter() - start

        def said(domain: str, part: str, rows: RowNumbers) -> Logits:
            pieces = [rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK)]
            return np.concatenate(
                [classifier.log_probabilities(domain, given.read(domain, piece)) for piece in pieces]
            )

        found = evaluation_of(said, data)
        base = self.base.result
        notes = [*data.pair.notes, *data.splits.notes, *data.notes, *found.notes]
        notes += [shallow.COMMON, shallow.ABOUT[name], *given.notes()]
        if self.base.features:
            notes.append("the features are those that source-only with the same seed has learnt")
        if not classifier.converged:
            notes.append(f"the solver did not converge in {shallow.ITERATIONS} steps")
        result = RunResult(
            datk=__version__,
            pair=base.pair,
            backbone=BACKBONE,
            align=name,
            reg=[],
            task=base.task,
            seed=base.seed,
            split=data.splits.rule,
            standardize=by,
            selected_by="none",
            uses_target_labels=False,
            epochs=0,
            selected_epoch=0,
            seconds=round(seconds, 3),
            seconds_per_epoch=0.0,
            device=describe_device(CPU),
            threads=torch.get_num_threads(),
            weights_sha256=classifier.checksum,
            data_sha256=data.checksum,
            metrics=found.metrics,
            classes=list(data.info.classes),
            positive=data.info.positive_class,
            class_counts=found.class_counts,
            target_labels=found.target_labels,
            answers_sha256=found.answers_sha256,
            notes=list(dict.fromkeys(notes)),
        )
        made_of = {"data_sha256": data.checksum, "features_sha256": None}
        if self.base.features:
            made_of["features_sha256"] = base.weights_sha256
        write_json(folder / "environment.json", [environment(CPU) | made_of])
        outputs.write(folder, found.outputs)
        write_json(folder / "result.json", result.model_dump(mode="json"))
