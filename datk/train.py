"""The training loop."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from datk import distributed
from datk.config import TrainConfig
from datk.data import TrainingData
from datk.errors import RunError
from datk.inference import predict
from datk.objective import Objective
from datk.report import Reporters
from datk.rng import seed_defaults
from datk.runs import RunFolder, State
from datk.selection import Selection
from datk.trace import Losses, Trace, last_good
from datk.update import Update


@dataclass(frozen=True)
class Fit:
    """What training did."""

    epochs: int
    selected_epoch: int
    seconds: float
    together: tuple[int, ...] = ()
    """Seeds that were trained as one program, this one among them, if there were several."""


class Trainer:
    """Trains an objective. Keeps, in the run folder, the weights of the epoch that the selection rule likes
    best, and all that is needed to go on after an interruption.

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
        config: TrainConfig,
        seed: int,
        run: RunFolder,
        report: Reporters,
        on_epoch: Callable[[dict[str, Any]], None] = lambda record: None,
    ) -> None:
        self.objective, self.data = objective, data
        self.terms = list(objective.losses.values())
        self.model = nn.ModuleDict({"objective": objective, "standardizers": standardizers})
        self.config, self.seed, self.run = config, seed, run
        self.report, self.on_epoch = report, on_epoch
        self.device = next(objective.parameters()).device
        self.update = Update(objective, config, data.steps, lambda text: report.tell("note", text))
        self.selection = Selection(config.select)
        self.selected: State | None = None
        """The best epoch's weights, until they are written."""
        self.last: dict[str, Any] | None = None
        """What resuming after the last epoch needs, until it is written."""
        self.trace = Trace(data.steps)
        self.epoch = 0
        """Epochs that are done."""
        self.written_at = time.monotonic()
        self.seconds = 0.0
        self.together: tuple[int, ...] = ()

    def fit(self) -> Fit:
        """Train to the last epoch or until patience is out. Raises `RunError` if a loss is not finite."""
        self.begin()
        with self.keeping_checkpoints():
            while self.goes_on:
                self.train_epoch()
        return self.end()

    # --- the parts of `fit`, for what trains several seeds at once

    def begin(self) -> None:
        """Let the terms prepare, and take up the last checkpoint if there is one."""
        self.objective.eval()
        seed_defaults(self.device, self.seed, "setup")
        with torch.no_grad():
            for term in self.terms:
                term.setup(self.objective.backbone)
        self._resume()

    @contextmanager
    def keeping_checkpoints(self) -> Iterator[None]:
        """Write them whatever ends the block. Of two errors the first is the one to tell of."""
        try:
            yield
        except BaseException:
            try:
                self.write_checkpoints()
            except RunError as error:
                self.report.tell("note", f"the last checkpoints are lost: {error}")
            raise
        self.write_checkpoints()

    @property
    def goes_on(self) -> bool:
        """Whether there is another epoch to train."""
        return self.epoch < self.config.epochs and not self._patience_is_out

    def train_epoch(self) -> None:
        """One more epoch."""
        self.start_epoch()
        with closing(self.data.batches(self.epoch, self.objective.needs_target)) as batches:
            for source, target in batches:
                self.end_step(self.update(self.step, source, target))
        self.end_epoch()

    def start_epoch(self) -> None:
        """Seed what the epoch draws, and let the terms look at the target."""
        self.started = time.perf_counter()
        self.step = self.epoch * self.data.steps
        seed_defaults(self.device, self.seed, "train", self.epoch)  # for dropout and what a component draws
        self.objective.eval()
        with torch.no_grad():
            for term in self.terms:
                term.on_epoch_start(self.objective.backbone, self.data.target_in_order())
        if not distributed.leads():  # other rows, other draws
            seed_defaults(self.device, self.seed, "train", self.epoch, distributed.rank())
        self.objective.train()

    def end_step(self, losses: list[Losses]) -> None:
        """Keep the terms of a step that was done; log them if it is time."""
        self.trace.add(self.step, losses)
        with torch.no_grad():
            for term in self.terms:
                term.after_step(self.objective.backbone)
        self.step += 1
        self.report.tell("advanced", self.step)
        if self.step % self.config.log_every == 0:
            self._log()

    def end_epoch(self) -> None:
        """Validate, select, and keep what resuming needs; write it if it is time."""
        self._log()
        distributed.share_buffers(self.objective)
        self.epoch += 1
        record = self._validated()
        record["selected"] = self.selection.improves(record)
        self.seconds += time.perf_counter() - self.started
        record["seconds"] = round(self.seconds, 3)
        self.run.append_metrics(record)
        self._keep(record["selected"])
        if time.monotonic() - self.written_at >= self.config.save_every:
            self.write_checkpoints()
        self.report.tell("epoch_ended", record)
        self.on_epoch(record)

    def write_checkpoints(self) -> None:
        """Write what has not been written. A run that is killed between the files selects the same again."""
        selected, self.selected = self.selected, None
        last, self.last = self.last, None
        if selected is not None:
            self.run.save_selected(selected)
        if last is not None:
            self.run.save_last(last)
        self.written_at = time.monotonic()

    def end(self) -> Fit:
        """What was done, when there is no epoch left."""
        if self.epoch < self.config.epochs:
            patience, rule = self.config.patience, self.selection.rule
            self.report.tell("note", f"stopped early: {patience} epochs without a better {rule}")
        return Fit(self.epoch, self.selection.epoch, self.seconds, self.together)

    # --- details

    @property
    def _patience_is_out(self) -> bool:
        patience = self.config.patience
        without = self.selection.epochs_without_improvement(self.epoch)
        return patience > 0 and self.epoch > 0 and without >= patience

    def _log(self) -> None:
        """Bring the terms since the last log line to the host: their means over the steps."""
        for record in self.trace.flush():
            self.run.append_metrics({"kind": "step", "epoch": self.epoch + 1, **record})
            self.report.tell("stepped", record)

    def _validated(self) -> dict[str, Any]:
        """The record of the epoch that ended. Raises `RunError` if it went wrong, perhaps in its last step,
        to keep it out of the checkpoints."""
        rows = self.data.source.split.validation
        logits = torch.from_numpy(predict(self.objective.backbone, self.data.source, rows))
        labels = self.data.validation_labels
        loss = float(F.cross_entropy(logits.double(), labels))
        parameters = dict(self.objective.named_parameters())
        finite = torch.stack([p.detach().isfinite().all() for p in parameters.values()]).tolist()
        wrong = [f"parameter '{name}'" for name, good in zip(parameters, finite, strict=True) if not good]
        if not math.isfinite(loss):
            wrong.append("the validation loss")
        if wrong:
            good = last_good(self.epoch - 1)
            raise RunError(f"{wrong[0]} is not finite after epoch {self.epoch}; {good}; lower train.lr")
        return {
            "kind": "epoch",
            "epoch": self.epoch,
            "step": self.step,
            "validation_loss": loss,
            "validation_accuracy": float((logits.argmax(dim=1) == labels).double().mean()),
        }

    def _keep(self, selected: bool) -> None:
        """Copy the state after an epoch, before the next one changes it; of several processes one writes."""
        if not distributed.leads():
            return
        self.last = {
            "epoch": self.epoch,
            "seconds": self.seconds,
            "selection": asdict(self.selection),
            "model": _copied(self.model.state_dict()),
            **_copied(self.update.state()),
        }
        if selected:
            self.selected = self.last["model"]

    def load_selected(self) -> State:
        """Put the kept weights into the model, and return them."""
        distributed.wait()  # for the one that writes them
        state = self.run.load_selected()
        self.model.load_state_dict(state)
        return state

    def _resume(self) -> None:
        state = self.run.load_last(self.device)
        if state is not None:
            try:
                self.model.load_state_dict(state["model"])
                self.update.load_state(state)
                self.selection = Selection(**state["selection"])
                self.seconds = float(state["seconds"])
                self.epoch = int(state["epoch"])
            except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
                reason = str(error).partition("\n")[0].rstrip(":")
                raise RunError(
                    f"{self.run.checkpoints / 'last.pt'} is not a checkpoint of these components ({reason}); "
                    "resume with the components of its run, or choose another --out"
                ) from None
            self.report.tell("note", f"resumed after epoch {self.epoch}")
        distributed.demand_same(str(self.epoch), "checkpoint; --out must be a folder that all can read")
        self.run.keep_metrics_until(self.epoch)


def _copied(state: Any) -> Any:
    """Nested dictionaries with copies of the tensors in them."""
    if isinstance(state, dict):
        return {key: _copied(value) for key, value in state.items()}
    return state.clone() if isinstance(state, Tensor) else state
