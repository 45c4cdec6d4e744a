"""From a domain pair to what training and evaluation read: split, standardised, on the device.

`TrainingData` holds no target labels and no way to ask for them; `Dataset` adds the pair for `datk.evaluate`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from datk.config import DataConfig, TrainConfig
from datk.errors import ConfigError
from datk.inspection import inspect_pair
from datk.interfaces import DomainPair, PairInfo, Samples, SourceBatch, TargetBatch
from datk.normalize import Standardize
from datk.rows import Rows, open_rows
from datk.sampling import dihedral, dihedral_codes, epoch_batches, steps_per_epoch, stream_batches
from datk.splits import Split, Splits, split_pair

EVALUATION_BATCH = 256


@dataclass(frozen=True)
class Domain:
    """The samples of one domain, split and standardised; no labels."""

    rows: Rows
    split: Split
    standardize: Standardize

    def in_order(self, rows: npt.NDArray[np.int64]) -> Iterator[Tensor]:
        """Standardised batches [<=256, *shape] of the given rows, in order, without augmentation."""
        full = len(rows) // EVALUATION_BATCH * EVALUATION_BATCH
        for part in (rows[:full].reshape(-1, EVALUATION_BATCH), rows[full:].reshape(1, -1)):
            if part.size:
                for x in self.rows.batches(torch.from_numpy(part)):
                    yield self.standardize(x)


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
        self.source_labels = torch.from_numpy(source_labels)
        self.augment = config.augment != "none"
        self.seed = seed
        self.source_size, self.target_size = len(source.split.train), len(target.split.train)
        self.source_batch = min(config.batch_size, self.source_size)
        self.target_batch = min(config.batch_size, self.target_size)
        self.steps = steps_per_epoch(self.source_size, self.source_batch)

    def _domain_batches(self, name: str, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Augmented, standardised batches of one domain with their positions among its training rows."""
        if name == "source":
            domain = self.source
            index = epoch_batches(self.source_size, self.source_batch, self.seed, epoch)
        else:
            domain = self.target
            index = stream_batches(self.target_size, self.target_batch, self.steps, self.seed, epoch)
        device = domain.standardize.mean.device
        plan = torch.from_numpy(domain.split.train)[index]
        positions = index.to(device)
        codes = dihedral_codes(index.shape, self.seed, name, epoch).to(device) if self.augment else None
        for step, x in enumerate(domain.rows.batches(plan)):
            x = dihedral(x, codes[step]) if codes is not None else x
            yield domain.standardize(x), positions[step]

    def batches(self, epoch: int, with_target: bool = True) -> Iterator[tuple[SourceBatch, TargetBatch]]:
        """The batches of an epoch (from 0): every source row once, as many batches of the target.

        Without target its batches are empty, and the target is not read.
        """
        labels = self.source_labels[torch.from_numpy(self.source.split.train)].to(
            self.source.standardize.mean.device
        )
        target = self._domain_batches("target", epoch) if with_target else None
        for x, index in self._domain_batches("source", epoch):
            x_target, index_target = next(target) if target else (x[:0], index[:0])
            yield SourceBatch(x, labels[index], index), TargetBatch(x_target, index_target)

    def target_in_order(self) -> Iterator[TargetBatch]:
        """The target's training rows in order, without augmentation."""
        start = 0
        for x in self.target.in_order(self.target.split.train):
            yield TargetBatch(x, torch.arange(start, start + len(x), device=x.device))
            start += len(x)

    def validation_labels(self) -> Tensor:
        """Labels of the source's validation rows."""
        return self.source_labels[torch.from_numpy(self.source.split.validation)]


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


def prepare(
    pair: DomainPair,
    data: DataConfig,
    train: TrainConfig,
    seed: int,
    device: torch.device,
    constants: dict[str, Tensor] | None = None,
) -> Dataset:
    """Check a pair, split it, and fit the standardisation on its training rows.

    Args:
        constants: standardisation of another run, as state of `Dataset.standardizers`, to be used instead.

    Raises:
        DataError: the pair's data cannot be used (see `inspect_pair`, `split_pair`).
        ConfigError: augmentation of images asked for feature vectors.
    """
    inspected = inspect_pair(pair)
    if train.augment != "none" and len(inspected.info.shape) != 3:
        raise ConfigError(f"train.augment={train.augment} needs images; the samples are feature vectors")
    split_seed = seed if data.split_seed is None else data.split_seed
    splits = split_pair(pair.source, pair.target, pair.shared_groups, data.fractions, split_seed)

    def ready(samples: Samples, split: Split) -> Domain:
        standardize = Standardize(inspected.info.shape)
        if constants is None:
            standardize.fit(samples.x, split.train)
        return Domain(open_rows(samples, device, data.memory_gb), split, standardize.to(device))

    source, target = ready(pair.source, splits.source), ready(pair.target, splits.target)
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
