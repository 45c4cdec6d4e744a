"""Steps and whole runs of datk, made as `datk run` makes them, on noise in place of images."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.speed.harness import Setting
from datk.config.resolve import Experiment, resolve
from datk.data.dataset import open_pair, prepare
from datk.interfaces import DomainPair, PairInfo, Samples, SourceBatch, TargetBatch
from datk.runs.folder import RunFolder
from datk.training.loop import Trainer
from datk.training.objective import Objective
from datk.training.report import FileReporter, Reporters
from datk.training.step import Update

SHAPE = (3, 75, 75)
METHODS: dict[str, dict[str, Any]] = {
    "source only": {"align": "none"},
    "mmd": {"align": "mmd"},
    "mmd + fisher,entropy": {"align": "mmd", "reg": ["fisher", "entropy"]},
    "dann": {"align": "dann"},
    "dann + fisher,entropy": {"align": "dann", "reg": ["fisher", "entropy"]},
}
"""The five methods of DeepMerge II."""

PAPER_ROWS = 15_426
"""Images of each domain in the sim-sim experiment, 10,798 of which are for training."""


class Noise(DomainPair):
    """Normal noise with alternating labels."""

    def __init__(self, rows: int) -> None:
        rng = np.random.default_rng(0)
        self.classes = ("a", "b")
        self.source, self.target = (
            Samples(rng.standard_normal((rows, *SHAPE), dtype=np.float32)) for _ in range(2)
        )
        self.source_labels = np.arange(rows) % 2

    def answers(self, rows: np.ndarray) -> None:
        """Unknown."""


def experiment(method: Mapping[str, Any], **train: Any) -> Experiment:
    """The configuration of `datk run` with other options of `train`."""
    return resolve(config={**method, "train": train})


def batches(setting: Setting, batch: int = 128) -> tuple[SourceBatch, TargetBatch]:
    """A batch of either domain, on the device."""
    generator = torch.Generator().manual_seed(0)
    source, target = torch.randn(2, batch, *SHAPE, generator=generator).to(setting.device)
    labels, index = (torch.arange(batch, device=setting.device) % n for n in (2, batch))
    return SourceBatch(source, labels, index), TargetBatch(target, index)


class Step:
    """One step on the same batches every time."""

    def __init__(self, method: Mapping[str, Any], setting: Setting, batch: int = 128, **train: Any) -> None:
        chosen = experiment(method, batch_size=batch, **train)
        objective = Objective(chosen, PairInfo(SHAPE, ("a", "b")), PAPER_ROWS, PAPER_ROWS, seed=0)
        objective.place(setting.device, chosen.config.train.memory_format)
        objective.train()
        self.notes: list[str] = []
        self.update = Update(objective, chosen.config.train, steps_per_epoch=85, note=self.notes.append)
        self.batches = batches(setting, batch)

    def __call__(self) -> Tensor:
        """Forward, backward, update; the terms of the loss, on the device."""
        return self.update(0, *self.batches)[0].values


class Run:
    """A run up to the point where it trains; `epoch` trains one more epoch.

    Args:
        beside: another run of the same data, whose rows on the device it shares.
    """

    def __init__(
        self,
        method: Mapping[str, Any],
        setting: Setting,
        rows: int,
        seed: int = 0,
        beside: "Run | None" = None,
        **train: Any,
    ) -> None:
        self.folder = tempfile.TemporaryDirectory()
        chosen = experiment(method, epochs=1000, patience=0, **train)
        config = chosen.config
        self.pair = beside.pair if beside else Noise(rows)
        self.rows = beside.rows if beside else open_pair(self.pair, setting.device, config.data.memory_gb)
        self.data = prepare(self.pair, config.data, config.train, seed, setting.device, opened=self.rows)
        training = self.data.training
        objective = Objective(chosen, self.data.info, training.source_size, training.target_size, seed)
        objective.place(setting.device, config.train.memory_format)
        folder = RunFolder(Path(self.folder.name))
        folder.open({})
        report = Reporters([FileReporter(folder.path / "log.txt")])
        standardizers = self.data.standardizers
        self.trainer = Trainer(objective, standardizers, training, config.train, seed, folder, report)
        self.trainer.begin()

    def epoch(self) -> None:
        """All of it: loading, training, logging, validation, checkpoints as often as a run writes them."""
        self.trainer.train_epoch()

    def bare(self) -> None:
        """As many steps on one and the same batch."""
        trainer = self.trainer
        trainer.objective.train()
        if not hasattr(self, "batch"):
            self.batch = next(trainer.data.batches(0))
        for _ in range(trainer.data.steps):
            trainer.update(0, *self.batch)
