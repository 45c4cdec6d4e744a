"""Short runs of a component, made of the parts that make every run (`datk.runs.run`)."""

import copy
import shutil
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import astuple, dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from datk.base.errors import DatkError
from datk.base.rng import numpy_generator, reproducible
from datk.config import plugins
from datk.config.models import DataConfig, RunConfig, TrainConfig
from datk.config.plugins import Kind, Plugin
from datk.config.resolve import Component, Experiment, component_class
from datk.data.dataset import Dataset, TrainingData, prepare
from datk.data.splits import RowNumbers, Split
from datk.interfaces import EpochRows, Phase, SourceBatch, TargetBatch
from datk.runs.evaluate import inform
from datk.runs.oracle import Oracle
from datk.testing.toys import IMAGES, Labels, SmallNetwork, ThreeClasses
from datk.testing.watch import FaultError, OnDevice, Watch, unsaved
from datk.training.checkpoints import Checkpoints, State
from datk.training.loop import Trainer
from datk.training.objective import CPU, Objective
from datk.training.predict import outputs
from datk.training.report import Reporters
from datk.training.warm_start import Initial, initialize, load_initial

TRAINING = TrainConfig(
    epochs=2, batch_size=8, lr=0.005, schedule="constant", patience=0, log_every=1, save_every=0
)
DATA = DataConfig(standardize="per-domain", target_rows="split")
"""Domains that a network can be carried over between, and parts that can be told apart."""
LATE = 1000
"""Epochs that a late run says have gone before, so that warm-ups are over."""


def component(kind: Kind, cls: type[Any], config: Any = None) -> Component:
    """A class as if it had been named in a configuration."""
    plugin = Plugin(kind, cls.__name__, f"{cls.__module__}:{cls.__qualname__}", dist="checked")
    return Component(plugin, cls, cls.Config() if config is None else config)


@cache
def installed(kind: Kind, name: str) -> Component:
    """An installed component with its default options."""
    cls = component_class(plugins.resolve(kind, name))
    return component(kind, cls)


@dataclass(frozen=True)
class Setting:
    """What a run is made of."""

    backbone: Component
    terms: tuple[Component, ...] = ()
    labels: Labels = "classes"
    shape: tuple[int, ...] = IMAGES
    task: Component | None = None
    select: Component | None = None
    train: TrainConfig = TRAINING
    seed: int = 0
    small: bool = False
    trained: bool = False
    """Whether it starts from a network that has learned the source."""
    late: bool = False
    """Whether it says that many epochs have gone before."""
    on_device: bool = False
    """Whether what would leave a device is noted, which takes time."""

    def experiment(self) -> Experiment:
        """As `datk.config.resolve` would make it."""
        names = {"classes": "datk:classification", "numbers": "datk:regression"}
        return Experiment(
            RunConfig(train=self.train, data=DATA, seed=self.seed, device="cpu"),
            pair=component("pair", ThreeClasses),
            backbone=self.backbone,
            align=self.terms,
            reg=(),
            task=self.task or installed("task", names[self.labels]),
            select=self.select or installed("selector", "datk:source-validation-loss"),
        )

    def prepared(self, pair: ThreeClasses) -> Dataset:
        """The data, split and standardised."""
        experiment = self.experiment()
        task = experiment.task.cls(experiment.task.config)
        return prepare(pair, task, experiment.config, CPU)

    def pair(self, order: RowNumbers | None = None, answers: RowNumbers | None = None) -> ThreeClasses:
        """The data."""
        return ThreeClasses(self.shape, self.labels, order, answers, self.small)


def network(norm: bool = True, layers: Sequence[str] = ()) -> Component:
    """The toys' network."""
    return component("backbone", SmallNetwork, SmallNetwork.Config(norm=norm, layers=tuple(layers)))


class _Watched(Objective):
    """An objective that tells a watch what happens in a step."""

    watch: Watch
    on_device: bool
    late: bool
    epochs: dict[int, dict[str, Any]]
    """What is not saved, before the first step of each epoch."""

    def forward(
        self, source: SourceBatch, target: TargetBatch, progress: Tensor, epoch: Tensor, phase: Phase
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """What the objective gives."""
        watch = self.watch
        watch.phase, watch.place = phase.name, f"embed, phase '{phase.name}'"
        if int(epoch) not in self.epochs:
            parts = (self.backbone, *self.loss_terms.values())
            self.epochs[int(epoch)] = {k: v for part in parts for k, v in unsaved(part).items()}
        before = [(batch.x, batch.x._version) for batch in (source, target)]
        with OnDevice(watch.note) if self.on_device else nullcontext():
            found = super().forward(source, target, progress, epoch + LATE * self.late, phase)
        if any(x._version != version for x, version in before):
            watch.changes = watch.changes or ["the batch is changed in place"]
        watch.place = f"the gradient of phase '{phase.name}'"
        return found


class Trial:
    """One short run, trained with `fit`. After that `state` is all that training changed, weights and
    moments; `said` is what the predictor says of the target's training rows.

    Args:
        folder: where checkpoints are written, and taken up if there are some; nowhere if not given.
        data: those of another trial, if they are the same.
        arrange: changes the data before training.

    Raises:
        FaultError: the run came to no end.
    """

    def __init__(
        self,
        setting: Setting,
        folder: Path | None = None,
        data: Dataset | None = None,
        arrange: Callable[[Dataset], TrainingData] = lambda data: data.training,
    ) -> None:
        self.setting, self.watch = setting, Watch()
        self.folder = folder
        if folder is not None:
            (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        with self._telling():
            self._make(setting, data, arrange)

    def _make(
        self, setting: Setting, data: Dataset | None, arrange: Callable[[Dataset], TrainingData]
    ) -> None:
        experiment = setting.experiment()
        self.data = data = setting.prepared(setting.pair()) if data is None else data
        sizes = data.training.source_size, data.training.target_size
        self.objective = objective = _Watched(experiment, data.task, data.info, *sizes)
        objective.watch, objective.on_device = self.watch, setting.on_device
        objective.late, objective.epochs = setting.late, {}
        for term in objective.loss_terms.values():
            self.watch.follow(term)
        if setting.trained:
            chosen = setting.backbone.config
            initialize(objective, source_only(chosen.norm, chosen.layers, setting.labels, setting.shape))
        objective.set_up(setting.seed)
        objective.place(CPU, "auto")
        self.model = nn.ModuleDict({"objective": objective, "standardizers": data.standardizers})
        self.start = {name: p.detach().clone() for name, p in objective.named_parameters()}
        selector = experiment.select.cls(experiment.select.config, data.task)
        if type(selector) is Oracle:
            inform(selector, data)
        self.trainer = Trainer(
            objective,
            data.standardizers,
            arrange(data),
            selector,
            setting.train,
            setting.seed,
            Checkpoints(self.folder or Path(), writes=self.folder is not None),
            Reporters([]),
            self._epoch_ended,
        )

    def _epoch_ended(self, record: dict[str, Any]) -> None:
        """Keep the files as a kill in the second epoch would leave them."""
        if self.folder is not None and record["epoch"] == 1:
            shutil.copytree(self.folder, killed(self.folder))

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Reproducibly; whatever is raised becomes words for the author."""
        try:
            with reproducible(CPU, deterministic=True):
                yield
        except Exception as error:
            told = str(error)
            if not isinstance(error, FaultError | DatkError):
                told = f"{type(error).__name__} in {self.watch.place}: {told.partition(chr(10))[0]}"
            raise FaultError("; ".join([*self.watch.changes, told])) from error

    def fit(self) -> "Trial":
        """Train to the end."""
        with self._telling():
            self.trainer.fit()
        self.state = copy.deepcopy({**self.objective.state_dict(), **self.trainer.optimization.state()})
        self.said = self.outputs()
        return self

    def load(self, state: State) -> None:
        """Take up the weights of another trial."""
        with self._telling():
            self.model.load_state_dict(state)

    def outputs(self) -> list[Tensor]:
        """Features and logits by the predictor of the target's training rows, in the order of content."""
        target = self.trainer.data.target
        with self._telling():
            predictor = self.objective.predictor()
            features, logits, _ = outputs(predictor, self.objective.backbone, target, target.split.train)
        return [features, logits]

    def selected(self) -> list[Tensor]:
        """As `outputs`, with the weights that were saved of the best epoch; these stay in place."""
        self.load(self.trainer.load_selected())
        return self.outputs()

    def unmoved(self) -> set[str]:
        """Parameters that are trained and are what they were in the beginning."""
        trained = {id(p) for params in self.trainer.optimization.params_of.values() for p in params}
        return {
            name
            for name, p in self.objective.named_parameters()
            if id(p) in trained and torch.equal(p, self.start[name])
        }


def killed(folder: Path) -> Path:
    """Where the files of a trial are as they were after its first epoch."""
    return folder.with_name(f"{folder.name} after a kill")


@cache
def source_only(norm: bool, layers: tuple[str, ...], labels: Labels, shape: tuple[int, ...]) -> Initial:
    """The toys' network as it is when it has learned the source and nothing else."""
    train = TRAINING.model_copy(update={"epochs": 15, "lr": 0.01, "save_every": 1000})
    with TemporaryDirectory() as folder:
        Trial(
            Setting(network(norm, layers), labels=labels, shape=shape, train=train), Path(folder) / "run"
        ).fit()
        return load_initial(Path(folder) / "run")


# --- the same data in other ways -----------------------------------------------------------------------


def with_other_answers(trial: Trial) -> Dataset:
    """The data of a trial with permuted answers, in a file that is sorted by them. Training gets the same
    rows in the same order."""
    pair = trial.setting.pair()
    rows = np.arange(pair.target.x.shape[0])
    answers = numpy_generator(0, "other answers").permutation(pair.answers(rows))
    order = np.argsort(answers.reshape(len(rows), -1)[:, 0], kind="stable")
    data = trial.setting.prepared(trial.setting.pair(order, answers))
    data.inherit(trial.data.standardizers.state_dict())
    place = np.argsort(order)
    target, known = data.training.target, trial.data.training.target.split
    split = Split(place[known.train], place[known.validation], place[known.test])
    data.training.target = replace(target, split=split)
    return data


class Renumbered(TrainingData):
    """The same batches, in which the target's rows have other numbers.

    Args:
        numbers: the new number of each row [N].
    """

    def __init__(self, data: TrainingData, numbers: Tensor) -> None:
        vars(self).update(vars(data))
        self.numbers = numbers

    def batches(self, *arguments: Any) -> Generator[tuple[SourceBatch, TargetBatch], None, None]:
        """The batches of an epoch."""
        for source, target in super().batches(*arguments):
            yield source, replace(target, index=self.numbers[target.index])

    def in_order(self) -> EpochRows:
        """The training rows in the new order."""
        rows = super().in_order()
        whole = [torch.cat(parts) for parts in zip(*map(astuple, rows.target), strict=True)]
        x, _, domain = (part[self.numbers.argsort()] for part in whole)
        return EpochRows(rows.source, [TargetBatch(x, torch.arange(len(x)), domain)])
