"""From a domain pair to what training and evaluation read: split, standardised, on the device.

`TrainingData` holds no target labels and no way to ask for them; `Dataset` adds the pair for `datk.evaluate`.
"""

from collections.abc import Generator, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from datk import distributed
from datk.augment import augmentation
from datk.config import DataConfig, TrainConfig
from datk.errors import ConfigError, DataError
from datk.inspection import inspect_pair
from datk.interfaces import DomainPair, PairInfo, Samples, SourceBatch, TargetBatch
from datk.normalize import Standardize
from datk.rows import Rows, open_rows
from datk.sampling import balanced_rows, epoch_batches, steps_per_epoch, stream_batches
from datk.splits import Rule, Split, Splits, split_pair

EVALUATION_BATCH = 256


@dataclass(frozen=True)
class Domain:
    """The samples of one domain, split and standardised; no labels."""

    name: str
    rows: Rows
    split: Split
    standardize: Standardize

    @property
    def device(self) -> torch.device:
        """Where its batches are."""
        return self.standardize.mean.device

    def in_order(self, rows: npt.NDArray[np.int64]) -> Iterator[Tensor]:
        """Standardised batches [<=256, *shape] of the given rows, in order, without augmentation."""
        full = len(rows) // EVALUATION_BATCH * EVALUATION_BATCH
        for part in (rows[:full].reshape(-1, EVALUATION_BATCH), rows[full:].reshape(1, -1)):
            if part.size:
                for x in self.rows.batches(torch.from_numpy(part)):
                    yield self.standardize(x)


@dataclass(frozen=True)
class Plan:
    """The batches of one domain in an epoch, before any of them is read."""

    rows: Tensor
    """Row numbers [steps, B], on the CPU."""
    index: Tensor
    """Their positions among the training rows [steps, B], on the device."""
    drawn: Tensor | None
    """What augmentation is to do to each image [steps, B, ...], on the device."""


class TrainingData:
    """All that training may read: both domains' samples, and the labels of the source's rows."""

    def __init__(
        self,
        source: Domain,
        target: Domain,
        source_labels: npt.NDArray[np.int64],
        config: TrainConfig,
        seed: int,
    ) -> None:
        self.source, self.target = source, target
        labels = torch.from_numpy(source_labels.astype(np.int64))
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
        distributed.check_share(self.source_batch, "source")
        distributed.check_share(self.target_batch, "target")
        self.steps = steps_per_epoch(self.epoch_size, self.source_batch)

    def source_plan(self, epoch: int) -> Plan:
        """Every source row once, or as many of each class as `train.balance` says."""
        order = epoch_batches(self.epoch_size, self.source_batch, self.seed, epoch)
        if self.balance is not None:
            order = balanced_rows(self.labels.cpu(), self.balance, self.seed, epoch)[order]
        return self._plan(self.source, order, epoch)

    def target_plan(self, epoch: int) -> Plan:
        """As many batches of the target as the source has."""
        order = stream_batches(self.target_size, self.target_batch, self.steps, self.seed, epoch)
        return self._plan(self.target, order, epoch)

    def _plan(self, domain: Domain, index: Tensor, epoch: int) -> Plan:
        """For an index [steps, B] into the training rows; of each batch this process's share."""
        drawn = None
        if self.augmentation is not None:
            drawn = self.augmentation.draw(index.shape, self.seed, domain.name, epoch)
            drawn = distributed.share(drawn).to(domain.device)
        index = distributed.share(index)
        return Plan(torch.from_numpy(domain.split.train)[index], index.to(domain.device), drawn)

    def images(self, domain: Domain, plan: Plan) -> Iterator[Tensor]:
        """The augmented images of each step [B, *shape], as they are stored."""
        for step, x in enumerate(domain.rows.batches(plan.rows)):
            if self.augmentation is not None and plan.drawn is not None:
                x = self.augmentation.apply(x, plan.drawn[step])
            yield x

    def batches(
        self, epoch: int, with_target: bool = True
    ) -> Generator[tuple[SourceBatch, TargetBatch], None, None]:
        """The batches of an epoch (from 0). Without target its batches are empty, and it is not read."""
        source, target = self.source_plan(epoch), self.target_plan(epoch) if with_target else None
        others = self.images(self.target, target) if target else None
        for step, images in enumerate(self.images(self.source, source)):
            x, index = self.source.standardize(images), source.index[step]
            x_target, index_target = x[:0], index[:0]
            if target is not None and others is not None:
                x_target, index_target = self.target.standardize(next(others)), target.index[step]
            yield SourceBatch(x, self.labels[index], index), TargetBatch(x_target, index_target)

    def target_in_order(self) -> Iterator[TargetBatch]:
        """The target's training rows in order, without augmentation."""
        start = 0
        for x in self.target.in_order(self.target.split.train):
            yield TargetBatch(x, torch.arange(start, start + len(x), device=x.device))
            start += len(x)


@dataclass(frozen=True)
class Dataset:
    """A pair made ready: training data, and the pair itself for evaluation."""

    pair: DomainPair
    info: PairInfo
    checksum: str
    splits: Splits
    training: TrainingData

    @property
    def standardizers(self) -> nn.ModuleDict:
        """The constants of both domains, saved with the model."""
        return nn.ModuleDict(
            {"source": self.training.source.standardize, "target": self.training.target.standardize}
        )


def open_pair(pair: DomainPair, device: torch.device, memory_gb: float | None) -> tuple[Rows, Rows]:
    """The rows of both domains, on the device if they fit (see `open_rows`)."""
    return open_rows(pair.source, device, memory_gb), open_rows(pair.target, device, memory_gb)


def prepare(
    pair: DomainPair,
    data: DataConfig,
    train: TrainConfig,
    seed: int,
    device: torch.device,
    constants: dict[str, Tensor] | None = None,
    split: Rule = "grouped",
    opened: tuple[Rows, Rows] | None = None,
) -> Dataset:
    """Check a pair, split it, and fit the standardisation on its training rows.

    Args:
        constants: standardisation of another run, as state of `Dataset.standardizers`, to be used instead.
        opened: rows of both domains on the device, as `open_pair` gives them, if several runs share them.

    Raises:
        DataError: the pair's data cannot be used (see `inspect_pair`, `split_pair`).
        ConfigError: augmentation of images asked for feature vectors.
    """
    inspected = inspect_pair(pair)
    if train.augment != "none" and len(inspected.info.shape) != 3:
        raise ConfigError(f"train.augment={train.augment} needs images; the samples are feature vectors")
    split_seed = seed if data.split_seed is None else data.split_seed
    splits = split_pair(pair.source, pair.target, pair.shared_groups, data.fractions, split_seed, split)
    if len(present := np.unique(pair.source_labels[splits.source.train])) < 2:
        raise DataError(
            f"the source's training rows are all '{pair.classes[present[0]]}' with split seed {split_seed}; "
            "set another data.split_seed, or give more data"
        )

    def ready(name: str, samples: Samples, rows: Rows, split: Split) -> Domain:
        standardize = Standardize(inspected.info.shape)
        if constants is None:
            standardize.fit(samples.x, split.train)
        return Domain(name, rows, split, standardize.to(device))

    source_rows, target_rows = opened or open_pair(pair, device, data.memory_gb)
    source = ready("source", pair.source, source_rows, splits.source)
    target = ready("target", pair.target, target_rows, splits.target)
    dataset = Dataset(
        pair=pair,
        info=inspected.info,
        checksum=inspected.checksum,
        splits=splits,
        training=TrainingData(source, target, pair.source_labels, train, seed),
    )
    if constants is not None:
        try:
            dataset.standardizers.load_state_dict(constants)
        except RuntimeError:
            raise ConfigError(
                "the standardisation to be inherited does not fit samples of shape "
                f"{list(inspected.info.shape)}; use init_normalization=fresh"
            ) from None
    return dataset
