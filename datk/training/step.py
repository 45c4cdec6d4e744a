"""What a step does to the parameters: loss, gradient and optimiser, phase by phase."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from datk.base.errors import PluginError
from datk.config.models import TrainConfig
from datk.interfaces import Phase, SourceBatch, TargetBatch
from datk.training.gather import average_gradients
from datk.training.objective import Objective, snapshot
from datk.training.optimizers import optimizer_of
from datk.training.progress import Watch
from datk.training.schedules import epochs, schedule
from datk.training.trace import PhaseTerms


class Optimization:
    """The optimiser and everything that goes with it: what `train_step` works with.

    Args:
        note: is told if an option of the configuration cannot be had here, and why.

    Raises:
        PluginError: a phase of the alignment that updates nothing.
    """

    def __init__(
        self,
        objective: Objective,
        config: TrainConfig,
        steps_per_epoch: int,
        note: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.objective, self.config, self.note = objective, config, note
        self.device = next(objective.parameters()).device
        self.optimizer = optimizer_of(objective, config)
        self.params_of = _params_of(objective)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=config.precision == "float16")
        self.factor_at = schedule(config, steps_per_epoch)
        self.steps_per_epoch = steps_per_epoch
        self.steps = epochs(config, steps_per_epoch) * steps_per_epoch
        self.progress = torch.zeros((), device=self.device)
        self.progress_watch = Watch()
        """Whether a term looked at the progress: what it learned then depends on the number of epochs."""
        self.epoch = torch.zeros((), device=self.device)
        self.loss_terms: Callable[..., tuple[dict[str, Tensor], dict[str, Tensor]]] = objective

    def plan(self, epochs: int) -> None:
        """Have schedules and progress end after another number of epochs."""
        config = self.config.model_copy(update={"epochs": epochs, "steps": None})
        self.factor_at = schedule(config, self.steps_per_epoch)
        self.steps = epochs * self.steps_per_epoch

    def go_to(self, step: int) -> None:
        """Let schedules and terms know which step this is (from 0)."""
        self.progress.fill_(step / self.steps)
        self.epoch.fill_(step // self.steps_per_epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.lr * group["lr_mult"] * self.factor_at(step)

    def compile(self, source: SourceBatch, target: TargetBatch) -> None:
        """Go on with compiled losses, if every phase of a step can be compiled; a trial on two batches, which
        changes nothing, shows whether it can."""
        from torch._inductor import list_mode_options  # loads a compiler, which takes a second

        # With torch's own random numbers, so that dropout is that of a run without.
        options = list_mode_options(self.config.compile) | {"fallback_random": True}
        compiled = torch.compile(self.objective, dynamic=False, options=options)
        put_back = snapshot(self.objective.buffers(), self.device)
        try:
            for phase in self.objective.phases:
                # Compiled code is not watched.
                self.objective(source, target, self.progress_watch.over(self.progress), self.epoch, phase)
                put_back()
                terms, _ = compiled(source, target, self.progress, self.epoch, phase)
                total = torch.stack(tuple(terms.values())).sum()
                torch.autograd.backward(total, inputs=self.params_of[phase])
            self.loss_terms = compiled
        except Exception as error:  # a fault of a component will show again
            reason = " ".join(str(error).split())[:200]
            self.note(f"train.compile failed ({reason}); training goes on without")
        self.optimizer.zero_grad(set_to_none=True)
        put_back()

    def state(self) -> dict[str, Any]:
        """What resuming needs: the moments and, in float16, the scale of the loss."""
        return {"optimizer": self.optimizer.state_dict()["state"], "scaler": self.scaler.state_dict()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take up what `state` gave. Settings are those of the configuration, not of the checkpoint."""
        settings = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state["optimizer"], "param_groups": settings})
        self.scaler.load_state_dict(state["scaler"])


def train_step(
    optimization: Optimization,
    step: int,
    source: SourceBatch,
    target: TargetBatch,
    examine: Callable[[dict[str, Tensor], list[nn.Parameter]], None] | None = None,
) -> list[PhaseTerms]:
    """Do one step (from 0); the terms of the loss in each of its phases. Reads nothing back from the
    device.

    examine: is shown the terms and what they train before each backward pass: to see how hard they pull, or
        which one a run went wrong by.
    """
    optimization.go_to(step)
    optimizer, scaler = optimization.optimizer, optimization.scaler
    progress, epoch = optimization.progress, optimization.epoch
    if optimization.loss_terms is optimization.objective:
        progress = optimization.progress_watch.over(progress)
    found = []
    for phase in optimization.objective.phases:  # one, but for methods such as MCD
        trained = optimization.params_of[phase]
        for _ in range(phase.repeat):
            optimizer.zero_grad(set_to_none=True)
            # One pass of both domains through the network, then every term; compiled, if that was asked for.
            terms, logged = optimization.loss_terms(source, target, progress, epoch, phase)
            if examine is not None:
                examine(terms, trained)
            values = torch.stack(tuple(terms.values()))
            # With `inputs`, so that all that the phase does not update has no gradient, and Adam leaves it
            # alone.
            torch.autograd.backward(scaler.scale(values.sum()), inputs=trained)
            average_gradients(trained)
            scaler.step(optimizer)
            scaler.update()
        # Of a phase that runs several times the last time counts, as it is what the next phase starts from.
        numbers = values.detach()
        if logged:
            numbers = torch.cat([numbers, torch.stack([value.float() for value in logged.values()])])
        found.append(PhaseTerms(phase.name, tuple(terms), tuple(logged), numbers))
    return found


def _params_of(objective: Objective) -> dict[Phase, list[nn.Parameter]]:
    """The parameters that each phase updates."""
    params_of = {
        phase: [
            p
            for owner, group in objective.groups()
            if owner in phase.updates
            for p in group.params
            if p.requires_grad
        ]
        for phase in objective.phases
    }
    for phase, params in params_of.items():
        if not params:
            raise PluginError(f"phase '{phase.name}' updates {', '.join(phase.updates)}: no parameters")
    return params_of
