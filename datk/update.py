"""What a step does to the parameters: loss, gradient and optimiser, phase by phase."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from datk.config import TrainConfig
from datk.errors import PluginError
from datk.interfaces import Phase, SourceBatch, TargetBatch
from datk.objective import Objective
from datk.schedules import schedule


class Losses(NamedTuple):
    """The weighted terms of the loss in one phase of a step."""

    phase: str
    names: tuple[str, ...]
    values: Tensor
    """[T], on the device, without gradient."""


class Update:
    """The optimiser and everything that goes with it. Reads nothing back from the device.

    Raises:
        PluginError: a phase of the alignment that updates nothing.
    """

    def __init__(self, objective: Objective, config: TrainConfig, steps_per_epoch: int) -> None:
        self.objective, self.config = objective, config
        device = next(objective.parameters()).device
        self.optimizer = _optimizer(objective, config)
        self.params_of = _params_of(objective)
        self.scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "float16")
        self.factor_at = schedule(config, steps_per_epoch)
        self.total_steps = config.epochs * steps_per_epoch
        self.progress = torch.zeros((), device=device)

    def __call__(self, step: int, source: SourceBatch, target: TargetBatch) -> list[Losses]:
        """Do one step (from 0); the terms of its phases."""
        self.progress.fill_(step / self.total_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.lr * group["lr_mult"] * self.factor_at(step)
        return [self._phase(phase, source, target) for phase in self.objective.phases]

    def _phase(self, phase: Phase, source: SourceBatch, target: TargetBatch) -> Losses:
        for _ in range(phase.repeat):
            terms = self.objective(source, target, self.progress, phase)
            values = torch.stack(tuple(terms.values()))
            torch.autograd.backward(self.scaler.scale(values.sum()), inputs=self.params_of[phase])
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.optimizer.zero_grad(set_to_none=True)
        return Losses(phase.name, tuple(terms), values.detach())

    def state(self) -> dict[str, Any]:
        """What resuming needs: the moments and, in float16, the scale of the loss."""
        return {"optimizer": self.optimizer.state_dict()["state"], "scaler": self.scaler.state_dict()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take up what `state` gave. Settings are those of the configuration, not of the checkpoint."""
        settings = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state["optimizer"], "param_groups": settings})
        self.scaler.load_state_dict(state["scaler"])


def _optimizer(objective: Objective, config: TrainConfig) -> torch.optim.Adam:
    """Adam over all groups, each with its factor on the learning rate."""
    return torch.optim.Adam(
        [
            {
                "params": group.params,
                "lr_mult": group.lr_mult,
                "weight_decay": config.weight_decay if group.weight_decay is None else group.weight_decay,
            }
            for _, group in objective.groups()
        ],
        lr=config.lr,
        betas=config.betas,
        eps=config.eps,
        amsgrad=config.amsgrad,
        fused=next(objective.parameters()).device.type != "mps",
    )


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
