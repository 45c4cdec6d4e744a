"""From a domain pair to what training and evaluation read: split, standardised, on the device.

`TrainingData` holds no target labels and no way to ask for them; `Dataset` adds the pair for `datk.runs`.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from datk.base import processes
from datk.base.errors import ConfigError, DataError
from datk.base.rng import torch_generator
from datk.config.models import RunConfig, TrainConfig
from datk.data.augment import augmentation
from datk.data.cleaning import Cleaning
from datk.data.constants import standardizers
from datk.data.extremes import Extremes, lost_digits, odd_values
from datk.data.inspection import inspect_pair
from datk.data.rows import EVALUATION_BATCH, Rows, evaluation_batch, open_rows
from datk.data.sampling import balanced_rows, epoch_batches, steps_per_epoch, stream_batches
from datk.data.splits import Split, Splits, numbered, split_pair
from datk.data.standardize import Standardize
from datk.interfaces import DomainPair, EpochRows, PairInfo, Samples, SourceBatch, TargetBatch, Task

Planner = Callable[[Tensor, int, int, torch.Generator], tuple[Tensor, Tensor] | None]
"""Chooses the rows of an epoch's batches, as `LossTerm.plan` does; `Objective.plan` checks what it gives."""


class DomainRows:
    """The rows of a domain, opened when the first of them is asked for: by then it is settled which constants
    they are standardised by."""

    def __init__(
        self,
        samples: Samples,
        standardize: Standardize,
        numbers: npt.NDArray[np.int64],
        device: torch.device,
        memory_gb: float | None,
    ) -> None:
        self.samples, self.standardize, self.numbers = samples, standardize, numbers
        self.device, self.memory_gb = device, memory_gb
        self.opened: Rows | None = None
        self.standardized = False
        """Whether rows come standardised, because the device could not do that as well."""

    def batches(self, plan: Tensor) -> Iterator[Tensor]:
        """The rows of each line of plan [steps, B], int64 row numbers on the CPU."""
        if self.opened is None:
            self.standardized = not self.standardize.on_device(self.samples.x.dtype)
            read = self.standardize.reader(self.numbers) if self.standardized else None
            self.opened = open_rows(self.samples, self.device, self.memory_gb, read)
        return self.opened.batches(plan)


@dataclass(frozen=True)
class Domain:
    """The samples of one domain, split and standardised; no labels."""

    name: str
    rows: DomainRows
    split: Split
    """The training rows stand in the order of their `index`, see `numbered`."""
    standardize: Standardize
    own: Standardize
    """As it were if the domain were standardised by itself."""
    numbers: Tensor
    """Domain of each row of the file, [N] int64 on the CPU: several sources have a number each."""
    evaluation_batch: int = EVALUATION_BATCH
    """Rows that `in_order` gives at a time."""

    @property
    def device(self) -> torch.device:
        """Where its batches are."""
        return self.standardize.device

    def standardized(self, x: Tensor, domain: Tensor) -> Tensor:
        """A batch of `rows`, standardised if its rows are not yet."""
        return x if self.rows.standardized else self.standardize(x, domain)

    def in_order(self, rows: npt.NDArray[np.int64]) -> Iterator[tuple[Tensor, Tensor]]:
        """Standardised batches [B, *shape] of the given rows and their domains [B], in order, without
        augmentation; B is `evaluation_batch` in all but the last."""
        full = len(rows) // self.evaluation_batch * self.evaluation_batch
        for part in (rows[:full].reshape(-1, self.evaluation_batch), rows[full:].reshape(1, -1)):
            if part.size:
                lines = torch.from_numpy(part)
                domains = self.numbers[lines].to(self.device)
                for x, domain in zip(self.rows.batches(lines), domains, strict=True):
                    yield self.standardized(x, domain), domain


@dataclass(frozen=True)
class Plan:
    """The batches of one domain in an epoch, before any of them is read."""

    rows: Tensor
    """Row numbers [steps, B], on the CPU."""
    index: Tensor
    """Their numbers among the training rows [steps, B], on the device."""
    domain: Tensor
    """The domain of each [steps, B], on the device."""
    drawn: Tensor | None
    """What augmentation is to do to each image [steps, B, ...], on the device."""


class TrainingData:
    """All that training may read: both domains' samples, and the labels of the source's rows."""

    def __init__(
        self,
        source: Domain,
        target: Domain,
        labels: Tensor,
        config: TrainConfig,
        seed: int,
    ) -> None:
        """labels: of all source rows as the task encodes them, on the CPU."""
        self.source, self.target = source, target
        self.labels = labels[torch.from_numpy(source.split.train)].to(source.device)
        self.validation_labels = labels[torch.from_numpy(source.split.validation)]
        self.augmentation = augmentation(config)
        self.balance = config.balance
        self.seed = seed
        self.source_size, self.target_size = len(source.split.train), len(target.split.train)
        self.epoch_size = self.source_size
        if config.balance is not None:
            self.epoch_size = config.balance * len(torch.unique(self.labels))
        self.source_batch = min(config.batch_size, self.epoch_size)
        self.target_batch = min(config.batch_size, self.target_size)
        processes.check_share(self.source_batch, "source")
        processes.check_share(self.target_batch, "target")

    def steps(self, passes: Sequence[str] = ("source", "target")) -> int:
        """Batches in an epoch: once over the source, or over the target where it is the only one to pass."""
        if "source" in passes:
            return steps_per_epoch(self.epoch_size, self.source_batch)
        return steps_per_epoch(self.target_size, self.target_batch)

    def _indices(self, epoch: int, steps: int, planner: Planner) -> tuple[Tensor, Tensor]:
        """Which training rows each batch holds, [steps, B] of source and target: every source row once, or as
        many of each class as `train.balance` says, unless a method plans otherwise."""
        generator = torch_generator(self.seed, "plan", epoch)
        planned = planner(self.labels.cpu(), steps, min(self.source_batch, self.target_batch), generator)
        if planned is not None:
            for name, index in zip(("source", "target"), planned, strict=True):
                processes.check_share(index.shape[1], name)
            return planned
        source = epoch_batches(self.epoch_size, self.source_batch, self.seed, epoch)
        if self.balance is not None:
            source = balanced_rows(self.labels.cpu(), self.balance, self.seed, epoch)[source]
        return source, stream_batches(self.target_size, self.target_batch, steps, self.seed, epoch)

    def _plan(self, domain: Domain, index: Tensor, epoch: int) -> Plan:
        """For an index [steps, B] into the training rows; of each batch this process's share."""
        drawn = None
        if self.augmentation is not None:
            drawn = self.augmentation.draw(index.shape, self.seed, domain.name, epoch)
            drawn = processes.share(drawn).to(domain.device)
        index = processes.share(index)
        rows = torch.from_numpy(domain.split.train)[index]
        return Plan(rows, index.to(domain.device), domain.numbers[rows].to(domain.device), drawn)

    def _images(self, domain: Domain, plan: Plan) -> Iterator[Tensor]:
        """The augmented, standardised images of each step [B, *shape]."""
        for step, x in enumerate(domain.rows.batches(plan.rows)):
            if self.augmentation is not None and plan.drawn is not None:
                x = self.augmentation.apply(x, plan.drawn[step])
            yield domain.standardized(x, plan.domain[step])

    def batches(
        self,
        epoch: int,
        passes: Sequence[str] = ("source", "target"),
        planner: Planner = lambda *_: None,
    ) -> Generator[tuple[SourceBatch, TargetBatch], None, None]:
        """The batches of an epoch (from 0). A domain that does not pass is not read: its batches are
        empty."""
        steps = self.steps(passes)
        source_index, target_index = self._indices(epoch, steps, planner)
        # Both are planned at once, but only what passes is read, and a domain is read as steps ask for it.
        readers = {
            domain.name: (plan, self._images(domain, plan))
            for domain, index in ((self.source, source_index), (self.target, target_index))
            if domain.name in passes
            for plan in (self._plan(domain, index, epoch),)
        }
        empty = self.labels.new_zeros(0, dtype=torch.int64)
        for step in range(steps):
            parts = {
                name: (next(images), plan.index[step], plan.domain[step])
                for name, (plan, images) in readers.items()
            }
            first = next(iter(parts.values()))[0][:0]
            x, index, domain = parts.get("source", (first, empty, empty))
            source = SourceBatch(x, self.labels[index], index, domain)
            yield source, TargetBatch(*parts.get("target", (first, empty, empty)))

    def in_order(self) -> EpochRows:
        """The training rows of both domains in the order of their index, without augmentation."""
        return EpochRows(_SourceRows(self), _TargetRows(self))


def _numbered_batches(domain: Domain) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Training rows in the order of their index: x, index and domain of each batch."""
    start = 0
    for x, number in domain.in_order(domain.split.train):
        yield x, torch.arange(start, start + len(x), device=x.device), number
        start += len(x)


class _SourceRows:
    """Reads the source's training rows each time it is iterated over."""

    def __init__(self, data: TrainingData) -> None:
        self.domain, self.labels = data.source, data.labels

    def __iter__(self) -> Iterator[SourceBatch]:
        for x, index, number in _numbered_batches(self.domain):
            yield SourceBatch(x, self.labels[index], index, number)


class _TargetRows:
    """Reads the target's training rows each time it is iterated over."""

    def __init__(self, data: TrainingData) -> None:
        self.domain = data.target

    def __iter__(self) -> Iterator[TargetBatch]:
        for x, index, number in _numbered_batches(self.domain):
            yield TargetBatch(x, index, number)


@dataclass(frozen=True)
class Dataset:
    """A pair made ready: training data, and the pair itself for evaluation."""

    pair: DomainPair
    task: Task
    """Fitted to the labels of the source's training rows."""
    info: PairInfo
    checksum: str
    splits: Splits
    training: TrainingData
    extremes: dict[str, list[Extremes]]
    """Of the values of each domain by its name; of several sources those of each."""
    labels: npt.NDArray[Any]
    """Of the source, checked: int64 [N], or numbers [N] or [N, T]."""

    @property
    def standardizers(self) -> nn.ModuleDict:
        """The constants of both domains, saved with the model."""
        return nn.ModuleDict(
            {"source": self.training.source.standardize, "target": self.training.target.standardize}
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """How files were read, and what is odd about values, once standardised: markers of missing data,
        extremes, lost digits."""
        notes: list[str] = []
        for domain in (self.training.source, self.training.target):  # how a file was read
            for x in (domain.rows.samples.x, getattr(domain.rows.opened, "x", None)):
                notes += [note for note in getattr(x, "notes", ()) if note not in notes]
        for domain in (self.training.source, self.training.target):
            found = self.extremes[domain.name]
            for number, extremes in enumerate(found):
                name = self.pair.sources[number] if len(found) > 1 else domain.name
                mean, std, low, high = domain.own.constants(number)
                notes += [odd.message() for odd in odd_values(name, extremes, mean, std, low, high)]
                notes += lost_digits(name, extremes, mean, std)
        return tuple(notes)

    def inherit(self, constants: dict[str, Tensor]) -> None:
        """Standardise with the constants of another run. Raises `ConfigError` if they do not fit."""
        try:
            self.standardizers.load_state_dict(constants)
        except RuntimeError:
            raise ConfigError(
                "the standardisation to be inherited does not fit samples of shape "
                f"{list(self.info.shape)}; use init_normalization=fresh"
            ) from None


def prepare(
    pair: DomainPair,
    task: Task,
    config: RunConfig,
    device: torch.device,
    positive: str | None = None,
) -> Dataset:
    """Check a pair, split it, and fit the standardisation and the task on its training rows.

    Where `init_normalization` is "inherited" the standardisation is left to `Dataset.inherit`.

    Args:
        positive: name of the positive class, of two; the second if not given.

    Raises:
        DataError: the pair's data cannot be used (see `inspect_pair`, `split_pair`).
        ConfigError: an option that does not go with the data.
    """
    cleaning = Cleaning.of(config.data)
    inspected = inspect_pair(pair, task, missing=cleaning.missing, positive=positive)
    info = inspected.info
    augment = config.train.augment
    if augment != "none" and len(info.shape) != 3:
        raise ConfigError(f"train.augment={augment} needs images; the samples are feature vectors")
    if config.train.balance is not None and not task.predicts_classes:
        raise ConfigError("train.balance needs classes; leave it out where numbers are predicted")
    if config.train.class_weights != "none" and not task.predicts_classes:
        raise ConfigError("train.class_weights needs classes; leave it out where numbers are predicted")
    split_seed = config.seed if config.data.split_seed == "run" else config.data.split_seed
    splits = split_pair(
        pair.source,
        pair.target,
        pair.shared_groups,
        config.data.fractions,
        split_seed,
        config.split,
        inspected.labels if task.predicts_classes else None,
        config.data.target_rows,
        pair.classes,
    )
    training_labels = inspected.labels[splits.source.train]
    if task.predicts_classes and len(present := np.unique(training_labels)) < 2:
        raise DataError(
            f"the source's training rows are all '{pair.classes[present[0]]}' with split seed {split_seed}; "
            "set another data.split_seed, or give more data"
        )
    of_source = (
        np.zeros(len(inspected.labels), np.int64)
        if pair.source.domain is None
        else np.array(pair.source.domain, np.int64)
    )
    trained = np.unique(of_source[splits.source.train])
    if without := [name for number, name in enumerate(pair.sources) if number not in trained]:
        raise DataError(
            f"source '{without[0]}' has no training rows with split seed {split_seed}; set another "
            "data.split_seed, or give more data of it"
        )
    task.fit(training_labels)
    labels = task.encode(torch.from_numpy(np.array(inspected.labels)))

    samples = {"source": pair.source, "target": pair.target}
    constants = standardizers(
        config.data.standardize,
        samples,
        {"source": splits.source.train, "target": splits.target.train},
        of_source,
        cleaning,
        fresh=config.init_normalization == "fresh",
    )

    def ready(name: str, split: Split, numbers: npt.NDArray[np.int64]) -> Domain:
        used, own = constants[name]
        used.place(device)
        return Domain(
            name,
            DomainRows(samples[name], used, numbers, device, config.data.memory_gb),
            numbered(split, config.seed, name),
            used,
            own,
            torch.from_numpy(numbers),
            evaluation_batch(config, info.shape),
        )

    of_target = np.full(pair.target.x.shape[0], len(pair.sources), np.int64)
    return Dataset(
        pair=pair,
        task=task,
        info=info,
        checksum=inspected.checksum,
        splits=splits,
        labels=inspected.labels,
        training=TrainingData(
            ready("source", splits.source, of_source),
            ready("target", splits.target, of_target),
            labels,
            config.train,
            config.seed,
        ),
        extremes=inspected.extremes,
    )
