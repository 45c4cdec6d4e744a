"""The training loop."""

import math
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from datk.config import TrainConfig
from datk.data import TrainingData
from datk.errors import PluginError, RunError
from datk.evaluate import predict
from datk.interfaces import Phase
from datk.objective import Objective
from datk.report import Reporters
from datk.rng import seed_defaults
from datk.runs import RunFolder, State
from datk.schedules import schedule
from datk.selection import Selection
from datk.trace import Trace, last_good


@dataclass(frozen=True)
class Fit:
    """What training did."""

    epochs: int
    selected_epoch: int
    seconds: float


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
        self.factor_at = schedule(config, data.steps)
        self.optimizer, self.params_of = _optimizer(objective, config)
        self.selection = Selection(config.select)
        self.progress = torch.zeros((), device=self.device)
        self.trace = Trace(data.steps)
        self.seconds = 0.0

    def fit(self) -> Fit:
        """Train to the last epoch or until patience is out. Raises `RunError` if a loss is not finite."""
        self._set_up()
        epoch = self._resume()
        while epoch < self.config.epochs and not self._patience_is_out(epoch):
            start = time.perf_counter()
            self._train_epoch(epoch)
            epoch += 1
            self._end_epoch(epoch, start)
        return Fit(epoch, self.selection.epoch, self.seconds)

    @torch.no_grad()
    def _set_up(self) -> None:
        """Let the terms prepare, on resume too: what the checkpoint brings must have its place."""
        self.objective.eval()
        seed_defaults(self.device, self.seed, "setup")
        for term in self.terms:
            term.setup(self.objective.backbone)

    def _train_epoch(self, epoch: int) -> None:
        objective, data = self.objective, self.data
        seed_defaults(self.device, self.seed, "train", epoch)  # for dropout and whatever a component draws
        objective.eval()
        with torch.no_grad():
            for term in self.terms:
                term.on_epoch_start(objective.backbone, data.target_in_order())
        objective.train()
        step = epoch * data.steps
        total_steps = self.config.epochs * data.steps
        with closing(data.batches(epoch, objective.needs_target)) as batches:
            for source, target in batches:
                self.progress.fill_(step / total_steps)
                for group in self.optimizer.param_groups:
                    group["lr"] = self.config.lr * group["lr_mult"] * self.factor_at(step)
                for phase in objective.phases:
                    for _ in range(phase.repeat):
                        terms = objective(source, target, self.progress, phase)
                        values = torch.stack(tuple(terms.values()))
                        torch.autograd.backward(values.sum(), inputs=self.params_of[phase])
                        self.optimizer.step()
                        self.optimizer.zero_grad(set_to_none=True)
                    self.trace.add(step, phase.name, tuple(terms), values.detach())
                with torch.no_grad():
                    for term in self.terms:
                        term.after_step(objective.backbone)
                step += 1
                self.report.tell("advanced", step)
                if step % self.config.log_every == 0:
                    self._log(epoch)
        self._log(epoch)

    def _log(self, epoch: int) -> None:
        """Bring the terms since the last log line to the host: their means over the steps."""
        for record in self.trace.flush():
            self.run.append_metrics({"kind": "step", "epoch": epoch + 1, **record})
            self.report.tell("stepped", record)

    def _end_epoch(self, epoch: int, start: float) -> None:
        rows = self.data.source.split.validation
        logits = torch.from_numpy(predict(self.objective.backbone, self.data.source, rows))
        labels = self.data.validation_labels
        record: dict[str, Any] = {
            "kind": "epoch",
            "epoch": epoch,
            "step": epoch * self.data.steps,
            "validation_loss": float(F.cross_entropy(logits.double(), labels)),
            "validation_accuracy": float((logits.argmax(dim=1) == labels).double().mean()),
        }
        self._check_finite(epoch, record["validation_loss"])
        record["selected"] = self.selection.improves(record)
        if record["selected"]:
            self.run.save_selected(self.model.state_dict())
        self.seconds += time.perf_counter() - start
        record["seconds"] = round(self.seconds, 3)
        self.run.append_metrics(record)
        self.run.save_last(
            {
                "epoch": epoch,
                "seconds": self.seconds,
                "selection": asdict(self.selection),
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
            }
        )
        self.report.tell("epoch_ended", record)
        self.on_epoch(record)

    def _check_finite(self, epoch: int, validation_loss: float) -> None:
        """Keep an epoch that went wrong, perhaps in its last step, out of the checkpoints."""
        parameters = self.objective.named_parameters()
        wrong = [f"parameter '{name}'" for name, p in parameters if not p.isfinite().all()]
        if not math.isfinite(validation_loss):
            wrong.append("the validation loss")
        if wrong:
            raise RunError(
                f"{wrong[0]} is not finite after epoch {epoch}; {last_good(epoch - 1)}; lower train.lr"
            )

    def load_selected(self) -> State:
        """Put the kept weights into the model, and return them."""
        state = self.run.load_selected()
        self.model.load_state_dict(state)
        return state

    def _resume(self) -> int:
        """Take up the last checkpoint, if there is one; the number of epochs done."""
        state = self.run.load_last(self.device)
        if state is None:
            self.run.keep_metrics_until(0)
            return 0
        try:
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.selection = Selection(**state["selection"])
            self.seconds = float(state["seconds"])
            epoch = int(state["epoch"])
        except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
            reason = str(error).partition("\n")[0].rstrip(":")
            raise RunError(
                f"{self.run.checkpoints / 'last.pt'} is not a checkpoint of these components ({reason}); "
                "resume with the components of its run, or choose another --out"
            ) from None
        self.run.keep_metrics_until(epoch)
        self.report.tell("note", f"resumed after epoch {epoch}")
        return epoch

    def _patience_is_out(self, epoch: int) -> bool:
        patience = self.config.patience
        out = patience > 0 and epoch > 0 and self.selection.epochs_without_improvement(epoch) >= patience
        if out:
            self.report.tell(
                "note", f"stopped early: {patience} epochs without a better {self.selection.rule}"
            )
        return out


def _optimizer(
    objective: Objective, config: TrainConfig
) -> tuple[torch.optim.Adam, dict[Phase, list[nn.Parameter]]]:
    """Adam over all groups, and the parameters that each phase updates."""
    groups = objective.groups()
    optimizer = torch.optim.Adam(
        [
            {
                "params": group.params,
                "lr_mult": group.lr_mult,
                "weight_decay": config.weight_decay if group.weight_decay is None else group.weight_decay,
            }
            for _, group in groups
        ],
        lr=config.lr,
        betas=config.betas,
        eps=config.eps,
        amsgrad=config.amsgrad,
        fused=next(objective.parameters()).device.type != "mps",
    )
    params_of = {
        phase: [
            p for owner, group in groups if owner in phase.updates for p in group.params if p.requires_grad
        ]
        for phase in objective.phases
    }
    for phase, params in params_of.items():
        if not params:
            raise PluginError(f"phase '{phase.name}' updates {', '.join(phase.updates)}: no parameters")
    return optimizer, params_of
