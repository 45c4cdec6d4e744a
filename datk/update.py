"""What a step does to the parameters: loss, gradient and optimiser, phase by phase."""

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from datk import distributed
from datk.config import TrainConfig
from datk.errors import PluginError
from datk.graphs import GraphedRun
from datk.interfaces import ParamGroup, Phase, SourceBatch, TargetBatch
from datk.objective import Owner, snapshot
from datk.schedules import schedule
from datk.trace import Losses


class Trained(Protocol):
    """What can be trained: an objective, or several as one."""

    phases: tuple[Phase, ...]

    def __call__(self, *inputs: Any) -> Any:
        """The terms of the loss of two batches at a progress in a phase, which minimises their sum."""

    def groups(self) -> list[tuple[Owner, ParamGroup]]:
        """All parameters with their owner."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """All parameters."""

    def buffers(self) -> Iterator[Tensor]:
        """What a step changes beside them."""

    def named_modules(self) -> Iterator[tuple[str, nn.Module]]:
        """Those whose own code may replace a buffer."""


class Update:
    """The optimiser and everything that goes with it. Reads nothing back from the device.

    Args:
        note: is told if an option of the configuration cannot be had here, and why.

    Raises:
        PluginError: a phase of the alignment that updates nothing.
    """

    def __init__(
        self,
        objective: Trained,
        config: TrainConfig,
        steps_per_epoch: int,
        note: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.objective, self.config, self.note = objective, config, note
        device = next(objective.parameters()).device
        graphs = config.graphs and device.type == "cuda"
        self.optimizer = _optimizer(objective, config, graphs)
        self.params_of = _params_of(objective)
        self.scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "float16")
        self.factor_at = schedule(config, steps_per_epoch)
        self.total_steps = config.epochs * steps_per_epoch
        self.progress = torch.zeros((), device=device)
        self.losses: Callable[..., dict[str, Tensor]] = objective
        if config.compile:
            # With torch's own random numbers, so that dropout is that of a run without.
            self.losses = torch.compile(objective, dynamic=False, options={"fallback_random": True})
        self.compiled: set[str] = set()
        """Phases that have been compiled and have worked."""
        self.run = GraphedRun(self._run, device, objective.named_modules(), note) if graphs else self._run
        if config.graphs and not graphs:
            note(f"train.graphs needs a CUDA device, not {device}; steps run as they are")

    def __call__(self, step: int, source: SourceBatch, target: TargetBatch) -> list[Losses]:
        """Do one step (from 0); the terms of its phases."""
        self.progress.fill_(step / self.total_steps)
        for group in self.optimizer.param_groups:
            lr = self.config.lr * group["lr_mult"] * self.factor_at(step)
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(lr)
            else:
                group["lr"] = lr
        return self.run(source, target)

    def _run(self, source: SourceBatch, target: TargetBatch) -> list[Losses]:
        return [self._phase(phase, source, target) for phase in self.objective.phases]

    def _phase(self, phase: Phase, source: SourceBatch, target: TargetBatch) -> Losses:
        for _ in range(phase.repeat):
            compiling = self.config.compile and phase.name not in self.compiled
            gradients = self._first_gradients if compiling else self._gradients
            names, values = gradients(phase, source, target)
            self.scaler.step(self.optimizer)
            self.scaler.update()
        return Losses(phase.name, names, values)

    def _gradients(
        self, phase: Phase, source: SourceBatch, target: TargetBatch
    ) -> tuple[tuple[str, ...], Tensor]:
        """Give the parameters of a phase their gradients; names and values of the terms."""
        self.optimizer.zero_grad(set_to_none=True)
        terms = self.losses(source, target, self.progress, phase)
        values = torch.stack(tuple(terms.values()))
        torch.autograd.backward(self.scaler.scale(values.sum()), inputs=self.params_of[phase])
        distributed.average_gradients(self.params_of[phase])
        return tuple(terms), values.detach()

    def _first_gradients(
        self, phase: Phase, source: SourceBatch, target: TargetBatch
    ) -> tuple[tuple[str, ...], Tensor]:
        """The same, for the first time through a compiler: without it, from the same state, if it fails."""
        put_back = snapshot(self.objective.buffers(), self.progress.device)
        try:
            found = self._gradients(phase, source, target)
        except Exception as error:  # a fault of a component will show again
            if self.losses is self.objective:
                raise
            reason = " ".join(str(error).split())[:200]
            self.note(f"train.compile failed ({reason}); training goes on without")
            self.losses = self.objective
            put_back()
            found = self._gradients(phase, source, target)
        self.compiled.add(phase.name)
        return found

    def state(self) -> dict[str, Any]:
        """What resuming needs: the moments and, in float16, the scale of the loss."""
        return {"optimizer": self.optimizer.state_dict()["state"], "scaler": self.scaler.state_dict()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take up what `state` gave. Settings are those of the configuration, not of the checkpoint."""
        settings = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state["optimizer"], "param_groups": settings})
        self.scaler.load_state_dict(state["scaler"])


def _optimizer(objective: Trained, config: TrainConfig, on_device: bool) -> torch.optim.Adam:
    """Adam over all groups, each with its factor on the learning rate, which may be kept on the device."""
    device = next(objective.parameters()).device
    optimizer = torch.optim.Adam(
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
        fused=device.type != "mps",
        capturable=on_device,
    )
    if on_device:
        for group in optimizer.param_groups:
            group["lr"] = torch.tensor(config.lr, device=device)
    return optimizer


def _params_of(objective: Trained) -> dict[Phase, list[nn.Parameter]]:
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
