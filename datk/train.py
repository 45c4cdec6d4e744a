"""The training loop."""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from datk.config import TrainConfig
from datk.data import TrainingData
from datk.errors import RunError
from datk.evaluate import predict
from datk.interfaces import Phase
from datk.objective import Objective
from datk.report import Reporters
from datk.rng import derive_seed
from datk.runs import RunFolder, State
from datk.schedules import schedule
from datk.selection import Selection


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
        self.objective, self.standardizers, self.data = objective, standardizers, data
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
        epoch = self._resume()
        if epoch == 0:
            self.objective.eval()
            for term in self.objective.losses.values():
                term.setup(self.objective.backbone)
        while epoch < self.config.epochs and not self._patience_is_out(epoch):
            start = time.perf_counter()
            self._train_epoch(epoch)
            epoch += 1
            self._end_epoch(epoch, time.perf_counter() - start)
        return Fit(epoch, self.selection.epoch, self.seconds)

    def _train_epoch(self, epoch: int) -> None:
        objective, data = self.objective, self.data
        objective.eval()
        with torch.no_grad():
            for term in objective.losses.values():
                term.on_epoch_start(objective.backbone, data.target_in_order())
        objective.train()
        torch.manual_seed(
            derive_seed(self.seed, "train", epoch)
        )  # for dropout and whatever a component draws
        step = epoch * data.steps
        total_steps = self.config.epochs * data.steps
        for source, target in data.batches(epoch, objective.needs_target):
            self.progress.fill_(step / total_steps)
            for group in self.optimizer.param_groups:
                group["lr"] = self.config.lr * group["lr_mult"] * self.factor_at(step)
            for phase in objective.phases:
                for _ in range(phase.repeat):
                    terms = objective(source, target, self.progress, phase)
                    total = torch.stack(tuple(terms.values())).sum()
                    torch.autograd.backward(total, inputs=self.params_of[phase.name])
                    self.optimizer.step()
                    self.optimizer.zero_grad(set_to_none=True)
                self.trace.add(step, phase, terms)
            for term in objective.losses.values():
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

    def _end_epoch(self, epoch: int, seconds: float) -> None:
        start = time.perf_counter()
        rows = self.data.source.split.validation
        logits = torch.from_numpy(predict(self.objective.backbone, self.data.source, rows))
        labels = self.data.validation_labels()
        record: dict[str, Any] = {
            "kind": "epoch",
            "epoch": epoch,
            "step": epoch * self.data.steps,
            "validation_loss": float(F.cross_entropy(logits.double(), labels)),
            "validation_accuracy": float((logits.argmax(dim=1) == labels).double().mean()),
        }
        if not np.isfinite(record["validation_loss"]):
            raise RunError(
                f"the validation loss is not finite after epoch {epoch}; lower train.lr; "
                f"{self._last_good(epoch - 1)}"
            )
        record["selected"] = self.selection.improves(record)
        if record["selected"]:
            self.run.save_selected(self._model_state())
        self.seconds += seconds + time.perf_counter() - start
        record["seconds"] = round(self.seconds, 3)
        self.run.append_metrics(record)
        self.run.save_last(
            {
                "epoch": epoch,
                "seconds": self.seconds,
                "selection": asdict(self.selection),
                "objective": self.objective.state_dict(),
                "standardizers": self.standardizers.state_dict(),
                "optimizer": self.optimizer.state_dict(),
            }
        )
        self.report.tell("epoch_ended", record)
        self.on_epoch(record)

    def _model_state(self) -> State:
        """Backbone, loss terms and standardisation: what a trained model is."""
        model = nn.ModuleDict({"objective": self.objective, "standardizers": self.standardizers})
        return {name: tensor.detach() for name, tensor in model.state_dict().items()}

    def load_selected(self) -> State:
        """Put the kept weights into the objective, and return them."""
        state = self.run.load_selected()
        nn.ModuleDict({"objective": self.objective, "standardizers": self.standardizers}).load_state_dict(
            state
        )
        return state

    def _resume(self) -> int:
        """Take up the last checkpoint, if there is one; the number of epochs done."""
        state = self.run.load_last(self.device)
        if state is None:
            self.run.keep_metrics_until(0)
            return 0
        try:
            self.objective.load_state_dict(state["objective"])
            self.standardizers.load_state_dict(state["standardizers"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.selection = Selection(**state["selection"])
            self.seconds = float(state["seconds"])
            epoch = int(state["epoch"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
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

    def _last_good(self, epoch: int) -> str:
        return f"epoch {epoch} is kept in {self.run.checkpoints}" if epoch else "no epoch was completed"


class Trace:
    """The terms of past steps, kept on the device until they are asked for."""

    def __init__(self, steps_per_epoch: int) -> None:
        self.steps_per_epoch = steps_per_epoch
        self.kept: list[tuple[int, Phase, tuple[str, ...], Tensor]] = []

    def add(self, step: int, phase: Phase, terms: dict[str, Tensor]) -> None:
        """Keep the terms of one step (from 0)."""
        self.kept.append((step, phase, tuple(terms), torch.stack(tuple(terms.values())).detach()))

    def flush(self) -> Iterator[dict[str, Any]]:
        """A record per phase: the last step and the mean of each term since the last flush.

        Raises:
            RunError: a term is NaN or infinite; names the first such step and its term.
        """
        kept, self.kept = self.kept, []
        for phase in dict.fromkeys(phase for _, phase, _, _ in kept):
            mine = [(step, names, values) for step, p, names, values in kept if p == phase]
            steps, names = [step for step, _, _ in mine], mine[0][1]
            values = torch.stack([values for _, _, values in mine]).cpu()
            bad = (~values.isfinite()).nonzero()
            if len(bad):
                row, column = bad[0].tolist()
                step = steps[row]
                raise RunError(
                    f"loss term '{names[column]}' became {float(values[row, column])} at step {step + 1} "
                    f"(epoch {step // self.steps_per_epoch + 1}); the last good epoch is kept in "
                    "checkpoints; lower train.lr or the term's weight"
                )
            yield {
                "step": steps[-1] + 1,
                "phase": phase.name,
                "loss": float(values.sum(dim=1).mean()),
                "terms": dict(zip(names, values.mean(dim=0).tolist(), strict=True)),
            }


def _optimizer(
    objective: Objective, config: TrainConfig
) -> tuple[torch.optim.Adam, dict[str, list[nn.Parameter]]]:
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
        phase.name: [
            p for owner, group in groups if owner in phase.updates for p in group.params if p.requires_grad
        ]
        for phase in objective.phases
    }
    return optimizer, params_of


@contextmanager
def reproducible(device: torch.device, deterministic: bool) -> Iterator[None]:
    """Keep the caller's random state, and use deterministic kernels if asked to; restores both."""
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    if deterministic and device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    devices: Iterable[torch.device] = [device] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=devices):
            torch.use_deterministic_algorithms(deterministic, warn_only=True)
            torch.backends.cudnn.benchmark = not deterministic
            yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.benchmark = before[1]
