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
from datk.data.dataset import prepare
from datk.interfaces import DomainPair, PairInfo, Samples, SourceBatch, TargetBatch, Task
from datk.runs.folder import RunFolder
from datk.training.loop import Trainer
from datk.training.objective import Objective
from datk.training.report import FileReporter, Reporters
from datk.training.step import Optimization, train_step

SHAPE = (3, 75, 75)
MMD = {"mmd": {"ramp": "constant", "bandwidth": "fixed", "kernels": "sum", "estimator": "biased"}}
DANN = {"dann": {"weight": 1.0, "ramp": "constant", "hidden": [1024, 1024]}}
METHODS: dict[str, dict[str, Any]] = {
    "source only": {"align": "none"},
    "mmd": {"align": MMD},
    "mmd + fisher,entropy": {"align": MMD, "reg": ["fisher", "entropy"]},
    "dann": {"align": DANN},
    "dann + fisher,entropy": {"align": DANN, "reg": ["fisher", "entropy"]},
}
"""The five methods of DeepMerge II, with its options."""

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


def task_of(chosen: Experiment) -> Task:
    """What is predicted, as a run makes it."""
    task: Task = chosen.task.cls(chosen.task.config)
    return task


def placed(
    chosen: Experiment, task: Task, info: PairInfo, sizes: tuple[int, int], setting: Setting
) -> Objective:
    """Backbone, terms and task on the device, ready to be trained."""
    objective = Objective(chosen, task, info, *sizes)
    objective.set_up(chosen.config.seed)
    objective.place(setting.device, chosen.config.train.memory_format)
    return objective


def batches(setting: Setting, batch: int = 128) -> tuple[SourceBatch, TargetBatch]:
    """A batch of either domain, on the device."""
    generator = torch.Generator().manual_seed(0)
    source, target = torch.randn(2, batch, *SHAPE, generator=generator).to(setting.device)
    index = torch.arange(batch, device=setting.device)
    return (
        SourceBatch(source, index % 2, index, torch.zeros_like(index)),
        TargetBatch(target, index, torch.ones_like(index)),
    )


class Step:
    """One step on the same batches every time."""

    def __init__(self, method: Mapping[str, Any], setting: Setting, batch: int = 128, **train: Any) -> None:
        chosen = experiment(method, batch_size=batch, **train)
        config = chosen.config.train
        info = PairInfo(SHAPE, ("a", "b"))
        objective = placed(chosen, task_of(chosen), info, (PAPER_ROWS, PAPER_ROWS), setting)
        self.notes: list[str] = []
        self.optimization = Optimization(objective, config, steps_per_epoch=85, note=self.notes.append)
        self.batches = batches(setting, batch)
        if config.compile != "none":
            self.optimization.compile(*self.batches)

    def __call__(self) -> Tensor:
        """Forward, backward, update; the terms of the loss, on the device."""
        return train_step(self.optimization, 0, *self.batches)[0].values


class Run:
    """A run up to the point where it trains; `epoch` trains one more epoch."""

    def __init__(self, method: Mapping[str, Any], setting: Setting, rows: int, **train: Any) -> None:
        self.folder = tempfile.TemporaryDirectory()
        chosen = experiment(method, epochs=1000, patience=0, **train)
        config, task = chosen.config, task_of(chosen)
        self.data = data = prepare(Noise(rows), task, config, setting.device)
        sizes = data.training.source_size, data.training.target_size
        folder = RunFolder(Path(self.folder.name))
        folder.open(chosen)
        self.trainer = Trainer(
            placed(chosen, task, data.info, sizes, setting),
            data.standardizers,
            data.training,
            chosen.select.cls(chosen.select.config, task),
            config.train,
            config.seed,
            folder.files,
            Reporters([FileReporter(folder.path / "log.txt")]),
        )

    def epoch(self) -> None:
        """All of it: loading, training, logging, validation, checkpoints as often as a run writes them."""
        self.trainer.train_epoch()

    def bare(self) -> None:
        """As many steps on one and the same batch."""
        trainer = self.trainer
        trainer.objective.train()
        if not hasattr(self, "batch"):
            self.batch = next(trainer.data.batches(0))
        for _ in range(trainer.steps_per_epoch):
            train_step(trainer.optimization, 0, *self.batch)
