"""Several seeds of one experiment, trained as one program: a GPU has room for more than one small network."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing

import torch
from torch import Tensor

from datk.data import Domain, Plan, TrainingData
from datk.errors import naming_seed
from datk.interfaces import SourceBatch, TargetBatch
from datk.rng import default_state, restore_state
from datk.stacking import CannotStackError, StackedObjective
from datk.trace import Losses
from datk.train import Fit, Trainer
from datk.update import Update


def fit_together(trainers: Sequence[Trainer]) -> Generator[Fit, None, None]:
    """Fit trainers of one experiment with different seeds. Each sees the batches, starts from the weights and
    makes the draws of its own single run, so that it finds the same up to rounding.

    Where components cannot be stacked, a note says why and they are trained one after another; what each did
    is given when it is done. Raises as `Trainer.fit`, and says of which seed.
    """
    with ExitStack() as stack:
        for trainer in trainers:
            trainer.begin()
            stack.enter_context(trainer.keeping_checkpoints())
        _catch_up(trainers)
        active = [trainer for trainer in trainers if trainer.goes_on]
        try:
            if len(active) > 1:
                Stack(active).fit()
        except CannotStackError as reason:
            for trainer in active:
                trainer.report.tell("note", f"trained one after another, not together: {reason}")
        for trainer in trainers:
            if trainer.goes_on and trainer is not active[0]:
                active[0].report.tell("note", f"now training seed {trainer.seed}")
            with naming_seed(trainer.seed):
                while trainer.goes_on:
                    trainer.train_epoch()
            trainer.write_checkpoints()
            yield trainer.end()


def _catch_up(trainers: Sequence[Trainer]) -> None:
    """Bring those to the same epoch whose last checkpoints an interruption left apart."""
    latest = max((trainer.epoch for trainer in trainers if trainer.goes_on), default=0)
    for trainer in trainers:
        with naming_seed(trainer.seed):
            while trainer.epoch < latest and trainer.goes_on:
                trainer.train_epoch()


class Stack:
    """Trainers whose parameters, buffers and moments are slices of common tensors.

    Raises:
        CannotStackError: they differ in more than values, or a component cannot be stacked.
    """

    def __init__(self, trainers: Sequence[Trainer]) -> None:
        self.trainers = trainers
        first = trainers[0]
        self.device = first.device
        if first.config.precision == "float16":
            raise CannotStackError("float16 has a scale for each seed")
        self.data = StackedData([trainer.data for trainer in trainers])
        for trainer in trainers:
            trainer.objective.train()
        self.objective = StackedObjective([trainer.objective for trainer in trainers])
        with closing(self.data.batches(first.epoch, first.objective.needs_target)) as batches:
            self.objective.probe(*next(batches), first.update.progress)
        self.objective.take_over()
        for trainer in trainers:
            trainer.together = tuple(each.seed for each in trainers)
        if first.config.compile:
            first.update.note("train.compile is left out: it does not go with train.together")
        graphs = first.config.graphs and self.device.type == "cuda"  # if not, all have told so already
        config = first.config.model_copy(update={"compile": False, "graphs": graphs})
        self.update = Update(self.objective, config, first.data.steps, first.update.note)
        self._take_moments()

    def fit(self) -> None:
        """Train until none goes on."""
        while any(trainer.goes_on for trainer in self.trainers):
            self.train_epoch()

    def train_epoch(self) -> None:
        """One more epoch of those that go on. The others are computed along, and nobody looks."""
        running = [k for k, trainer in enumerate(self.trainers) if trainer.goes_on]
        leader = self.trainers[running[0]]
        states = [default_state(self.device)] * len(self.trainers)
        for k in running:
            self.trainers[k].start_epoch()
            states[k] = default_state(self.device)
        self.objective.adopt()
        for trainer in self.trainers:
            trainer.objective.train()
        with closing(self.data.batches(leader.epoch, leader.objective.needs_target)) as batches:
            for source, target in batches:
                self.objective.draw(states)
                losses = self.update(leader.step, source, target)
                for k in running:
                    restore_state(self.device, states[k])  # a term may draw in `after_step`
                    with naming_seed(self.trainers[k].seed):
                        self.trainers[k].end_step(
                            [Losses(phase, names, values[:, k]) for phase, names, values in losses]
                        )
                    states[k] = default_state(self.device)
                self.objective.adopt()
        self._give_moments()
        for k in running:
            with naming_seed(self.trainers[k].seed):
                self.trainers[k].end_epoch()

    # --- the optimiser's moments, which checkpoints keep for each seed

    def _take_moments(self) -> None:
        """Go on with those of the members, if they have any."""
        joint = self.update.optimizer.state
        for trainer in self.trainers:
            joint.update(trainer.update.optimizer.state)
        for stacked, members in self._stacked():
            states = [joint.pop(parameter, {}) for parameter in members]
            if all(states):
                joint[stacked] = {
                    name: value.clone() if name == "step" else torch.stack([state[name] for state in states])
                    for name, value in states[0].items()
                }

    def _give_moments(self) -> None:
        """Let the members have theirs, to be saved."""
        joint = self.update.optimizer.state
        for trainer in self.trainers:
            for group in trainer.update.optimizer.param_groups:
                own = {parameter: joint[parameter] for parameter in group["params"] if parameter in joint}
                trainer.update.optimizer.state.update(own)
        for stacked, members in self._stacked():
            if state := joint.get(stacked):
                for k, (trainer, parameter) in enumerate(zip(self.trainers, members, strict=True)):
                    trainer.update.optimizer.state[parameter] = {
                        name: value if name == "step" else value[k] for name, value in state.items()
                    }

    def _stacked(self) -> Iterator[tuple[Tensor, list[torch.nn.Parameter]]]:
        """The stacked parameters of the terms, each with those of the members."""
        for name, stacked in self.objective.stacked_parameters.items():
            yield stacked, [trainer.objective.terms.get_parameter(name) for trainer in self.trainers]


class StackedData:
    """The batches of several seeds side by side: each those of its own run, read in one go.

    Raises:
        CannotStackError: the seeds' batches or epochs have different lengths.
    """

    def __init__(self, members: Sequence[TrainingData]) -> None:
        self.members = members
        for what, lengths in {
            "steps in an epoch": {data.steps for data in members},
            "source rows in a batch": {data.source_batch for data in members},
            "target rows in a batch": {data.target_batch for data in members},
        }.items():
            if len(lengths) > 1:
                some = " and ".join(map(str, sorted(lengths)[:2]))
                advice = "data.split_seed=0 gives all the same split"
                raise CannotStackError(f"their splits make {some} {what}; {advice}")

    def batches(
        self, epoch: int, with_target: bool = True
    ) -> Generator[tuple[SourceBatch, TargetBatch], None, None]:
        """As those of `TrainingData`, with a first axis of seeds: x [K, B, *shape], y and index [K, B]."""
        plans = [data.source_plan(epoch) for data in self.members]
        index = torch.stack([plan.index for plan in plans], dim=1)
        labels = torch.stack(
            [data.labels[plan.index] for data, plan in zip(self.members, plans, strict=True)], dim=1
        )
        target, target_index = None, index[:, :, :0]
        if with_target:
            target_plans = [data.target_plan(epoch) for data in self.members]
            target = self._images(lambda data: data.target, target_plans)
            target_index = torch.stack([plan.index for plan in target_plans], dim=1)
        for step, x in enumerate(self._images(lambda data: data.source, plans)):
            x_target = next(target) if target else x[:, :0]
            yield (
                SourceBatch(x, labels[step], index[step]),
                TargetBatch(x_target, target_index[step]),
            )

    def _images(self, domain: Callable[[TrainingData], Domain], plans: list[Plan]) -> Iterator[Tensor]:
        """Augmented, standardised images of one domain."""
        constants = [domain(data).standardize for data in self.members]
        mean, std = (
            torch.stack([getattr(each, name) for each in constants])[:, None] for name in ("mean", "std")
        )
        drawn = [plan.drawn for plan in plans if plan.drawn is not None]
        side_by_side = Plan(
            torch.cat([plan.rows for plan in plans], dim=1),
            torch.cat([plan.index for plan in plans], dim=1),
            torch.cat(drawn, dim=1) if drawn else None,
        )
        first = self.members[0]
        for x in first.images(domain(first), side_by_side):
            yield (x.view(len(plans), -1, *x.shape[1:]).float() - mean).div_(std)
