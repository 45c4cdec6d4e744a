"""Checks of alignments and regularizers."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from datk.config.resolve import Component
from datk.interfaces import AlignmentLoss, LossTerm
from datk.testing.probe import Probe
from datk.testing.toys import IMAGES, VECTORS
from datk.testing.trial import (
    TRAINING,
    Renumbered,
    Setting,
    Trial,
    component,
    killed,
    network,
    with_other_answers,
)
from datk.testing.watch import FaultError, lists_of_modules, same

Check = tuple[str, str | None]
"""What is checked, and what is wrong."""
NUMBERS_TELL = 0.05
"""Part of a term's effect that may depend on how rows are numbered: sums in another order round otherwise."""
ELSEWHERE = ("supervision", "predictor", "plan", "on_epoch_start", "after_step")
"""Methods by which a term can act on what is trained or evaluated without a value of its own."""
KINDS = {IMAGES: "images", VECTORS: "feature vectors"}


def check_term(cls: type[LossTerm], config: Any) -> Iterator[Check]:
    """Train a term on toy data, several times."""
    config = config if config.weight else config.model_copy(update={"weight": 1.0})
    with TemporaryDirectory() as folder:
        trials = _Trials(cls, config)
        try:
            yield from trials.start()
            base = trials.run(Path(folder) / "run", on_device=True)
        except FaultError as error:
            yield "trains", str(error)
            return
        yield from _step(trials, base)
        yield from _pull(trials, base)
        yield from _rows(trials, base)
        yield from resumes(trials.setting(), base)
        yield from _secrets(trials, base)
        yield from trials.elsewhere()


class _Trials:
    """Runs of one term."""

    def __init__(self, cls: type[LossTerm], config: Any) -> None:
        self.cls, self.config = cls, config
        self.shape: tuple[int, ...] = IMAGES
        self.layers: tuple[str, ...] = ()
        self.fresh: Trial | None = None
        """A run from random weights."""

    def setting(self, norm: bool = True, weight: float | None = None, **options: Any) -> Setting:
        """From a trained network, after many epochs, unless options say otherwise."""
        config = self.config if weight is None else self.config.model_copy(update={"weight": weight})
        return Setting(
            network(norm, self.layers),
            (self._component(config),),
            **{"shape": self.shape, "trained": True, "late": True, **options},
        )

    def _component(self, config: Any) -> Component:
        kind = "alignment" if issubclass(self.cls, AlignmentLoss) else "regularizer"
        return component(kind, self.cls, config)  # type: ignore[arg-type]

    def run(self, folder: Path | None = None, **options: Any) -> Trial:
        """Train. A layer that the network is not known to have is given to it. Raises `FaultError`."""
        while True:
            try:
                return Trial(self.setting(**options), folder).fit()
            except FaultError as error:
                missing = error.__cause__
                layer = missing.args[0] if isinstance(missing, KeyError) and missing.args else None
                if not isinstance(layer, str) or layer in self.layers:
                    raise
                self.layers += (layer,)

    def start(self) -> Iterator[Check]:
        """Find data on which the term works. Raises `FaultError` if there are none."""
        refused = ""
        for self.shape in (IMAGES, VECTORS):
            try:
                self.fresh = self.run(trained=self.cls.needs_init, late=False, on_device=True)
                break
            except FaultError as error:
                refused = refused or str(error)
        else:
            raise FaultError(refused)
        yield f"trains on {KINDS[self.shape]}", None
        if refused:
            yield f"not checked on images, where it does not work ({refused})", None

    def elsewhere(self) -> Iterator[Check]:
        """Other data, other labels."""
        train = TRAINING.model_copy(update={"epochs": 1})
        options: dict[str, Any] = {"trained": self.cls.needs_init, "late": False, "train": train}
        if self.shape == IMAGES:
            try:
                self.run(shape=VECTORS, **options)
                yield "trains on feature vectors", None
            except FaultError as error:
                yield f"not checked on feature vectors, where it does not work ({error})", None
        if not self.cls.needs_classes:
            fault = None
            try:
                self.run(labels="numbers", **options)
            except FaultError as error:
                fault = f"{error}; if it needs classes, say needs_classes = True"
            yield "trains where numbers are predicted, or says needs_classes = True", fault


def _step(trials: _Trials, base: Trial) -> Iterator[Check]:
    """What may be done in a step."""
    assert trials.fresh is not None
    watches = [trials.fresh.watch, base.watch]
    yield "stays on the device", _listed([text for watch in watches for text in watch.reads])
    yield "leaves the batch as it is", _listed([text for watch in watches for text in watch.changes])
    unmoved = {name for name in trials.fresh.unmoved() & base.unmoved() if name.startswith("terms.")}
    fault = f"no gradient moves {', '.join(map(_short, sorted(unmoved)))}" if unmoved else None
    yield "its parameters are trained", fault


def _pull(trials: _Trials, base: Trial) -> Iterator[Check]:
    """Whether its value acts on the network, and looks at what it says it does."""
    if not _acts(trials, base):
        return
    if not base.watch.with_gradient:
        yield "pulls on the backbone", "its value has no gradient: it is detached from the network"
        return
    if getattr(trials.cls, "pulls", True):
        pulls = not _same_network(base, trials.run(weight=0.0))
        if not pulls and trials.fresh is not None and not trials.cls.needs_init:
            pulls = not _same_network(trials.fresh, trials.run(weight=0.0, trained=False, late=False))
        fault = "with weight = 0 the network is the same: its gradient does not reach the backbone"
        yield "pulls on the backbone", None if pulls else f"{fault} (are the features detached?)"


def _rows(trials: _Trials, base: Trial) -> Iterator[Check]:
    """How its value depends on the rows of a batch, where rows do not depend on each other in the network."""
    cls = trials.cls
    if (
        not _acts(trials, base) or cls.plan is not LossTerm.plan
    ):  # which may rely on the batches that it plans
        return
    probe = Probe(trials.run(norm=False))
    try:
        probe.halves()
    except FaultError as error:
        yield "works on batches of four rows", str(error)
        return
    if cls.needs_target:
        fault = None if probe.looks_at_target() else "its value does not depend on target rows"
        yield "looks at the target, or says needs_target = False", fault
    knows = cls.needs_init or base.watch.reads_source_rows or cls.supervision is not LossTerm.supervision
    if issubclass(cls, AlignmentLoss) and not knows:
        fault = (
            "its value depends neither on source rows nor on what the head, which learns from them, predicts"
        )
        yield "has to do with the source", None if probe.looks_at_source() else fault
    yield "is a mean over rows, or says over_batch = True", probe.no_mean()
    if "source" in base.objective.passes:
        yield "copes with a batch that lacks a class", probe.lacking_class()


def _secrets(trials: _Trials, base: Trial) -> Iterator[Check]:
    """What it must not know, because training must not depend on it."""
    name = "other answers in another order give the same weights"
    again = Trial(trials.setting(), data=with_other_answers(base)).fit()
    fault = None
    if different := difference(base.state, again.state):
        fault = f"'{different}' is other"
        if difference(base.state, trials.run().state):
            name, fault = "a seed gives the same weights again", f"{fault}: something is drawn with no seed"
    yield name, fault
    if trials.cls.plan is not LossTerm.plan or base.watch.draws_before_epochs:
        return  # what is drawn by row goes by its number
    numbers = torch.randperm(base.data.training.target_size, generator=torch.Generator().manual_seed(5))
    other = Trial(trials.setting(), arrange=lambda data: Renumbered(data.training, numbers))
    _renumber(other, numbers)
    gap = _gap(base, other.fit())
    effect = _gap(base, trials.run(weight=0.0))
    fault = None
    if gap > NUMBERS_TELL * effect + 1e-3:
        fault = "target rows with other numbers give another network; index is no order, and tells no label"
    yield "row numbers tell it nothing", fault


def _renumber(trial: Trial, numbers: Tensor) -> None:
    """Give each row what a term keeps for it."""
    with torch.no_grad():
        for term in trial.objective.loss_terms.values():
            for kept in (*term.buffers(), *term.parameters()):
                if kept.ndim and len(kept) == len(numbers):
                    kept[numbers] = kept.clone()


def _gap(one: Trial, other: Trial) -> float:
    """Largest difference between what two predictors say of target rows."""
    return max(float((a - b).abs().max()) for a, b in zip(one.said, other.said, strict=True))


def _acts(trials: _Trials, base: Trial) -> bool:
    """Whether its value is to act: anything but 0 of a term that does something else, or nothing at all."""
    values = [value for of_phase in base.watch.values.values() for value in of_phase]
    elsewhere = any(getattr(trials.cls, name) is not getattr(LossTerm, name) for name in ELSEWHERE)
    return any(bool(value) for value in values) or (base.watch.with_gradient and not elsewhere)


def _same_network(one: Trial, other: Trial) -> bool:
    """Whether two runs have the same backbone and the same predictor."""
    backbones = [
        {name: value for name, value in trial.state.items() if name.startswith("backbone.")}
        for trial in (one, other)
    ]
    return difference(backbones[0], backbones[1]) is None and same(one.said, other.said)


# --- also for backbones --------------------------------------------------------------------------------


def resumes(setting: Setting, base: Trial) -> Iterator[Check]:
    """A run goes on after a kill as if nothing had been, and what is saved is all there is to it."""
    assert base.folder is not None
    fault = None
    try:
        resumed = Trial(setting, killed(base.folder), base.data).fit()
        different = difference(base.state, resumed.state)
        if not different and not same(base.said, resumed.said):
            different = "what the predictor says"
        if different:
            fault = f"'{different}' is other than without a kill; {_culprits(base, resumed)}"
    except FaultError as error:
        fault = str(error)
    yield "goes on after a kill as if nothing had been", fault

    fault = None
    try:
        loaded = Trial(replace(setting, seed=setting.seed + 1), data=base.data)
        expected = base.selected()
        loaded.load(base.trainer.files.load_selected())
        if not same(expected, loaded.outputs()):
            lists = [name for part in _parts(base) for name in lists_of_modules(part)]
            hidden = f"; '{lists[0]}' is a plain container of modules, use ModuleList" if lists else ""
            fault = f"with its weights another instance predicts otherwise: they are not all saved{hidden}"
    except FaultError as error:
        fault = str(error)
    yield "its state can be saved and loaded", fault


def _culprits(base: Trial, resumed: Trial) -> str:
    """What was not restored, of what is not part of the state."""
    epoch = min(resumed.objective.epochs, default=-1)
    before, after = base.objective.epochs.get(epoch, {}), resumed.objective.epochs.get(epoch, {})
    lost = [name for name, value in before.items() if name not in after or not same(value, after[name])]
    named = f": {', '.join(lost)}" if lost else ""
    return f"what changes from step to step must be saved, as parameters and buffers are{named}"


def _parts(trial: Trial) -> Sequence[torch.nn.Module]:
    return [trial.objective.backbone, *trial.objective.loss_terms.values()]


def difference(one: Any, other: Any, name: str = "") -> str | None:
    """Name of the first value in which two nested states differ, bit for bit."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        found = (difference(one[key], other[key], f"{name}.{key}") for key in one)
        return next((different for different in found if different), None)
    return None if same(one, other) else _short(name.lstrip("."))


def _short(name: str) -> str:
    """A parameter's name without that of the objective's part."""
    return name.split(".", 2)[-1] if name.startswith("terms.") else name


def _listed(texts: Sequence[str]) -> str | None:
    """The first of several faults, and how many more there are."""
    texts = list(dict.fromkeys(texts))
    more = f" (and {len(texts) - 2} more)" if len(texts) > 2 else ""
    return "; ".join(texts[:2]) + more if texts else None
