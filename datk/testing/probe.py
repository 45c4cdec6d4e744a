"""How the value of a term depends on the rows of a batch."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from datk.base.rng import reproducible, seed_defaults
from datk.interfaces import Phase, SourceBatch, TargetBatch
from datk.testing.trial import Trial
from datk.testing.watch import FaultError, Still
from datk.training.objective import CPU, snapshot

ROWS = 8
"""In a batch of each domain."""


class Probe:
    """Asks a trained objective for the value of its only term on batches of one's own choice.

    trial: a run whose network has no batch normalisation, so that what it says of a row does not depend on
        other rows.
    """

    def __init__(self, trial: Trial) -> None:
        self.trial, self.objective = trial, trial.objective
        (self.label,) = self.objective.loss_terms
        rows = trial.trainer.data.in_order()
        self.source = [
            torch.cat([getattr(batch, name) for batch in rows.source])
            for name in ("x", "y", "index", "domain")
        ]
        self.target = [
            torch.cat([getattr(batch, name) for batch in rows.target]) for name in ("x", "index", "domain")
        ]

    def ask(
        self, phase: Phase, source: Tensor, target: Tensor, module: nn.Module | None = None
    ) -> tuple[dict[str, float], list[Tensor]]:
        """The terms of the loss on some rows of both domains, by number, and the gradients of the one in
        question for the parameters of a module. It leaves no trace."""
        put_back = snapshot(self.objective.buffers(), CPU)
        parameters = [] if module is None else [p for p in module.parameters() if p.requires_grad]
        gradients: tuple[Tensor | None, ...] = ()
        try:
            with reproducible(CPU, deterministic=True):
                seed_defaults(CPU, 0, "probe")
                terms, _ = self.objective(
                    SourceBatch(*(part[source] for part in self.source)),
                    TargetBatch(*(part[target] for part in self.target)),
                    torch.tensor(0.5),
                    torch.tensor(0.0),
                    phase,
                )
                value = terms[self.label]
                if parameters and value.requires_grad:
                    gradients = torch.autograd.grad(value, parameters, allow_unused=True)
        except FaultError:
            raise
        except Exception as error:
            batch = f"a batch of {len(source)} source and {len(target)} target rows, phase '{phase.name}'"
            raise FaultError(f"{type(error).__name__} in {batch}: {error}") from error
        finally:
            put_back()
        values = {label: float(value.detach()) for label, value in terms.items()}
        return values, [gradient for gradient in gradients if gradient is not None]

    def _value(self, phase: Phase, source: Tensor, target: Tensor) -> float:
        return self.ask(phase, source, target)[0][self.label]

    def _phases(self) -> Iterator[Phase]:
        alignment = hasattr(self.objective.loss_terms[self.label], "phases")
        return (phase for phase in self.objective.phases if alignment or phase.regularized)

    def looks_at_target(self) -> bool:
        """Whether other target rows give another value, or another supervised part of the loss."""
        source, length = torch.arange(ROWS), len(self.target[0])
        batches = torch.arange(length // ROWS * ROWS).view(-1, ROWS)
        phases = list(self._phases())
        return len({str([self.ask(phase, source, rows)[0] for phase in phases]) for rows in batches}) > 1

    def looks_at_source(self) -> bool:
        """Whether other source rows give another value, or the head's parameters have a part in it."""
        target = torch.arange(ROWS)
        batches = torch.arange(len(self.source[0]) // ROWS * ROWS).view(-1, ROWS)
        phases = list(self._phases())
        if len({tuple(self._value(phase, rows, target) for phase in phases) for rows in batches}) > 1:
            return True
        head = self.objective.backbone.head
        return any(
            bool(gradient.any()) for phase in phases for gradient in self.ask(phase, target, target, head)[1]
        )

    def halves(self) -> list[tuple[str, float, float, float]]:
        """Of each phase its name, the value of a batch, the same asked again, and the mean of those of two
        halves, as two processes would have them."""
        rows = torch.arange(ROWS)
        found = []
        with Still():
            for phase in self._phases():
                whole, again = (self._value(phase, rows, rows) for _ in range(2))
                mean = sum(self._value(phase, half, half) for half in rows.chunk(2)) / 2
                found.append((phase.name, whole, again, mean))
        return found

    def no_mean(self) -> str | None:
        """What differs if the value is no mean over rows and does not say so."""
        if self.objective.loss_terms[self.label].over_batch:
            return None
        for phase, whole, again, mean in self.halves():
            if whole == again and not math.isclose(whole, mean, rel_tol=1e-3, abs_tol=1e-5):
                told = f"of a batch it is {whole:.4g}, of its halves {mean:.4g} on average"
                return f"{told} (phase '{phase}')"
        return None

    def lacking_class(self) -> str | None:
        """Leave out the source's rows of each class in turn."""
        labels, target = self.source[1], torch.arange(ROWS)
        for label in sorted(set(labels.tolist())):
            source = torch.nonzero(labels != label).flatten()[:ROWS]
            for phase in self._phases():
                without = f"without source rows of class {label}"
                try:
                    _, gradients = self.ask(phase, source, target, self.objective)
                except FaultError as error:
                    return f"{without}: {error}"
                if not all(bool(gradient.isfinite().all()) for gradient in gradients):
                    return f"{without}, in phase '{phase.name}': a gradient is not finite"
        return None
