"""The training loop."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import torch
from torch import Tensor, nn

from datk.base import processes
from datk.base.errors import RunError
from datk.base.rng import seed_defaults
from datk.config.models import TrainConfig
from datk.data.dataset import TrainingData
from datk.interfaces import Outputs, Selector
from datk.training.blame import Culprit, Found, examine
from datk.training.budget import Budget
from datk.training.checkpoints import Checkpoints, State
from datk.training.gather import mean, share_buffers
from datk.training.objective import Objective
from datk.training.predict import outputs
from datk.training.progress import not_longer
from datk.training.report import Reporters
from datk.training.schedules import epochs
from datk.training.selection import Selection
from datk.training.signs import Look, Signs, late_fall
from datk.training.step import Optimization, train_step
from datk.training.trace import NotFiniteError, PhaseTerms, Trace, last_good


@dataclass(frozen=True)
class Fit:
    """What training did."""

    epochs: int
    selected_epoch: int
    seconds: float
    look: Look | None = None
    """What was seen of the target after the warm-up; None where no classes are predicted."""
    pulls: dict[str, float] = field(default_factory=dict)
    """How hard each term pulled, see `datk.training.signs.Signs`."""
    late_fall: float = 0.0
    """Which part of the fall of the validation loss came late, see `datk.training.signs.late_fall`."""


class Trainer:
    """Trains an objective. Keeps, in the run folder, the weights of the epoch that the selector likes best,
    and all that is needed to go on after an interruption.

    Every draw and every schedule is a function of the seed and the step, so that the state is: parameters and
    buffers, the optimiser's moments, the selection, the number of epochs done.

    Raises:
        PluginError: a phase of the alignment that updates nothing.
    """

    def __init__(
        self,
        objective: Objective,
        standardizers: nn.ModuleDict,
        data: TrainingData,
        selector: Selector,
        config: TrainConfig,
        seed: int,
        files: Checkpoints,
        report: Reporters,
        on_epoch: Callable[[dict[str, Any]], None] = lambda record: None,
        on_look: Callable[[Look], None] = lambda look: None,
        *,
        resume: bool = True,
        on_longer: Callable[[], None] | None = None,
    ) -> None:
        self.objective, self.data, self.selector = objective, data, selector
        self.terms = list(objective.loss_terms.values())
        self.model = nn.ModuleDict({"objective": objective, "standardizers": standardizers})
        self.config, self.seed, self.files = config, seed, files
        self.report, self.on_epoch, self.on_look = report, on_epoch, on_look
        self.resume, self.on_longer = resume, on_longer
        self.device = next(objective.parameters()).device
        self.steps_per_epoch = data.steps(objective.passes)
        self.budget = Budget(config.time_budget, epochs(config, self.steps_per_epoch))
        self.optimization = Optimization(
            objective, config, self.steps_per_epoch, lambda text: report.tell("note", text)
        )
        self.compiled = config.compile == "none"
        self.selection = Selection(type(selector).__name__)
        self.selected: State | None = None
        """The best epoch's weights, until they are written."""
        self.last: dict[str, Any] | None = None
        """What resuming after the last epoch needs, until it is written."""
        self.before: dict[str, Any] = {}
        """The state after the last good epoch, from which one that goes wrong can be done again."""
        self.trace = Trace(self.steps_per_epoch)
        self.epoch = 0
        """Epochs that are done."""
        self.written_at = time.monotonic()
        self.seconds = 0.0
        self.signs = Signs(objective, data)

    @property
    def epochs(self) -> int:
        """Epochs to be trained."""
        return self.budget.epochs

    def fit(self) -> Fit:
        """Train to the last epoch or until patience is out. Raises `RunError` if a loss is not finite."""
        if self.resume:
            self._resume()
        self.before = self._state()
        self._demand_independence()
        with self._keeping_checkpoints():
            while self.epoch < self.epochs and not self._ends_early:
                try:
                    self.train_epoch()
                except NotFiniteError as error:
                    raise self._explained(error) from None
        if self._patience_is_out and self.epoch < self.epochs:
            self.report.tell("note", f"stopped early: {self.config.patience} epochs without a better one")
        self._tell_longer()
        signs = self.signs
        rates = [self.optimization.factor_at(epoch * self.steps_per_epoch) for epoch in range(self.epoch)]
        fell = late_fall(signs.losses, rates[self.epoch - len(signs.losses) :])
        return Fit(self.epoch, self.selection.epoch, self.seconds, signs.look, signs.pulls, fell)

    def train_epoch(self) -> None:
        """One more epoch: what the terms want to see first, its steps, validation, selection."""
        started = time.perf_counter()
        step = self.epoch * self.steps_per_epoch
        last = step + self.steps_per_epoch - 1
        if self.signs.before_epoch(self.epoch, self.epochs) and self.signs.look is not None:
            self.on_look(self.signs.look)
        self._start_epoch()
        passes, planner = self.objective.passes, self.objective.plan
        with closing(self.data.batches(self.epoch, passes, planner)) as batches:
            for source, target in batches:
                if not self.compiled:
                    self.optimization.compile(source, target)
                    self.compiled = True
                measure = self.signs.measure if step == last and self._measures() else None
                losses = train_step(self.optimization, step, source, target, measure)
                self._demand_independence()
                self._tell_longer()
                self._end_step(step, losses)
                step += 1
        self._log()
        share_buffers(self.objective)
        self.epoch += 1
        record = self._validated(step)
        self.seconds += time.perf_counter() - started
        record["seconds"] = round(self.seconds, 3)
        self._look_at_the_clock()
        self.files.append_metrics(record)
        self._keep(record["selected"])
        if time.monotonic() - self.written_at >= self.config.save_every:
            self._write_checkpoints()
        self.report.tell("epoch_ended", record)
        self.on_epoch(record)

    # --- details

    def _start_epoch(self) -> None:
        """Seed what the epoch draws, and let the terms look at the rows."""
        seed_defaults(self.device, self.seed, "train", self.epoch)  # for dropout and what a component draws
        self.objective.eval()
        with torch.no_grad():
            for term in self.terms:
                term.on_epoch_start(self.objective.backbone, self.data.in_order())
        if not processes.leads():  # other rows, other draws
            seed_defaults(self.device, self.seed, "train", self.epoch, processes.rank())
        self.objective.train()

    def _measures(self) -> bool:
        """Whether to see how hard terms pull; compiled, they have no gradients of their own."""
        eager = self.optimization.loss_terms is self.objective
        return eager and self.signs.measures(self.epoch, self.epochs)

    def _demand_independence(self) -> None:
        """Where a run goes on for more epochs than it was started with: raise `RunError` if a term has looked
        at the progress, as the checkpoint says of epochs done and the first step shows, before anything is
        written."""
        if self.on_longer is not None and self.epoch and self.optimization.progress_watch.read:
            reason = "a term of the loss follows the progress over all epochs"
            raise RunError(not_longer(self.files.folder, self.epochs, reason))

    def _tell_longer(self) -> None:
        if self.on_longer is not None:
            self.on_longer()
            self.on_longer = None

    def _end_step(self, step: int, losses: list[PhaseTerms]) -> None:
        """Keep the terms of a step that was done; log them if it is time."""
        self.trace.add(step, losses)
        self._after_step()
        self.report.tell("advanced", step + 1)
        if (step + 1) % self.config.log_every == 0:
            self._log()

    def _after_step(self) -> None:
        with torch.no_grad():
            for term in self.terms:
                term.after_step(self.objective.backbone)

    @contextmanager
    def _keeping_checkpoints(self) -> Iterator[None]:
        """Write them whatever ends the block. Of two errors the first is the one to tell of."""
        try:
            yield
        except BaseException:
            try:
                self._write_checkpoints()
            except RunError as error:
                self.report.tell("note", f"the last checkpoints are lost: {error}")
            raise
        self._write_checkpoints()

    def _write_checkpoints(self) -> None:
        """Write what has not been written. A run that is killed between the files selects the same again."""
        selected, self.selected = self.selected, None
        last, self.last = self.last, None
        if selected is not None:
            self.files.save_selected(selected)
        if last is not None:
            self.files.save_last(last)
        self.written_at = time.monotonic()

    def _look_at_the_clock(self) -> None:
        """See how many epochs there is time for; several processes go by the same clock."""
        if self.config.time_budget is None:
            return
        self.seconds = float(mean(torch.tensor(self.seconds, device=self.device)))
        if self.budget.plan(self.epoch, self.seconds):
            self.optimization.plan(self.epochs)
            self.report.tell("planned", self.epochs, self.epochs * self.steps_per_epoch)

    @property
    def _ends_early(self) -> bool:
        return self._patience_is_out or self.budget.is_spent(self.seconds)

    @property
    def _patience_is_out(self) -> bool:
        patience = self.config.patience
        without = self.selection.epochs_without_improvement(self.epoch)
        return patience > 0 and self.epoch > 0 and without >= patience

    def _log(self) -> None:
        """Bring the terms since the last log line to the host: their means over the steps."""
        for record in self.trace.flush():
            self.files.append_metrics({"kind": "step", "epoch": self.epoch + 1, **record})
            self.report.tell("stepped", record)

    def _validated(self, step: int) -> dict[str, Any]:
        """The record of the epoch that ended. Raises `RunError` if it went wrong, perhaps in its last step,
        to keep it out of the checkpoints."""
        predictor, backbone = self.objective.predictor(), self.objective.backbone
        source = outputs(
            predictor,
            backbone,
            self.data.source,
            self.data.source.split.validation,
            self.data.validation_labels,
        )
        task, labels = self.objective.task, self.data.validation_labels
        loss = float(task.loss(source.logits.double(), labels).mean())
        parameters = dict(self.objective.named_parameters())
        finite = torch.stack([p.detach().isfinite().all() for p in parameters.values()]).tolist()
        wrong = [f"parameter '{name}'" for name, good in zip(parameters, finite, strict=True) if not good]
        if not math.isfinite(loss):
            wrong.append("the validation loss")
        if wrong:
            good = last_good(self.epoch - 1)
            raise NotFiniteError(f"{wrong[0]} is not finite after epoch {self.epoch}; {good}; lower train.lr")
        target = Outputs(source.features[:0], source.logits[:0], None)
        if self.selector.needs_target:
            target = outputs(predictor, backbone, self.data.target, self.data.target.split.validation)
        score = float(self.selector.score(source, target))
        self.signs.losses.append(loss)
        return {
            "kind": "epoch",
            "epoch": self.epoch,
            "step": step,
            "validation_loss": loss,
            f"validation_{next(iter(task.metrics))}": task.headline(source.logits, labels),
            "selected": self.selection.improves(score, self.epoch, self.selector.latest_of_equals),
        }

    def _keep(self, selected: bool) -> None:
        """Copy the state after an epoch, before the next one changes it; of several processes one writes."""
        if not processes.leads():
            return
        self.last = self.before = self._state()
        if selected:
            self.selected = self.last["model"]

    def _state(self) -> dict[str, Any]:
        """All that going on from here needs."""
        return {
            "epoch": self.epoch,
            "seconds": self.seconds,
            "progress_read": self.optimization.progress_watch.read,
            "signs": self.signs.state(),
            "budget": self.budget.state(),
            "selection": asdict(self.selection),
            "model": _copied(self.model.state_dict()),
            **_copied(self.optimization.state()),
        }

    def _explained(self, error: NotFiniteError) -> RunError:
        """The error, naming the term that it began with where that can be found out."""
        culprit = self._culprit()
        if culprit is None:
            return error
        epoch = self.before["epoch"]
        return RunError(
            f"the gradient of loss term '{culprit.term}' is not finite at step {culprit.step} "
            f"(epoch {epoch + 1}), though its value is; {last_good(epoch)}; see where it divides by zero or "
            "takes a root of zero, or lower train.lr or the term's weight"
        )

    def _culprit(self) -> Culprit | None:
        """The first term in this epoch whose gradient is not finite, from doing the epoch again."""
        if processes.size() > 1:  # each would find only what its own rows did
            return None
        self.epoch = self.before["epoch"]
        step = self.epoch * self.steps_per_epoch
        try:
            self.model.load_state_dict(self.before["model"])
            self.signs.weigh()  # by what was seen before this epoch
            self.optimization.load_state(self.before)
            self.optimization.loss_terms = self.objective  # compiled, terms have no gradients of their own
            self._start_epoch()
            passes, planner = self.objective.passes, self.objective.plan
            with closing(self.data.batches(self.epoch, passes, planner)) as batches:
                for source, target in batches:
                    train_step(self.optimization, step, source, target, examine)
                    self._after_step()
                    step += 1
        except Found as found:
            return None if found.term is None else Culprit(found.term, step + 1)
        except Exception:  # the run has failed already, and of that the user is told
            return None
        return None

    def load_selected(self) -> State:
        """Put the kept weights into the model, and return them."""
        processes.wait()  # for the one that writes them
        state = self.files.load_selected()
        self.model.load_state_dict(state)
        return state

    def _resume(self) -> None:
        """Take up the last checkpoint, if there is one."""
        state = self.files.load_last(self.device)
        if state is not None:
            try:
                self.model.load_state_dict(state["model"])
                self.optimization.load_state(state)
                known = {known.name for known in fields(Selection)}
                self.selection = Selection(**{k: v for k, v in state["selection"].items() if k in known})
                self.seconds = float(state["seconds"])
                self.epoch = int(state["epoch"])
                self.optimization.progress_watch.read = bool(state.get("progress_read", False))
                self.signs.load_state(state.get("signs", {}))
                self.budget.load_state(state.get("budget", {}))
                if self.config.time_budget is not None:
                    self.optimization.plan(self.epochs)
            except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
                reason = str(error).partition("\n")[0].rstrip(":")
                raise RunError(
                    f"{self.files.last} is not a checkpoint of these components ({reason}); "
                    "resume with the components of its run, or choose another --out"
                ) from None
            self.report.tell("note", f"resumed after epoch {self.epoch}")
        processes.demand_same(str(self.epoch), "checkpoint; --out must be a folder that all can read")
        self.files.keep_metrics_until(self.epoch)


def _copied(state: Any) -> Any:
    """Nested dictionaries with copies of the tensors in them."""
    if isinstance(state, dict):
        return {key: _copied(value) for key, value in state.items()}
    return state.clone() if isinstance(state, Tensor) else state
