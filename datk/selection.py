"""Which epoch's weights are kept, judged on the source's validation rows."""

from dataclasses import dataclass
from typing import Any

RULES: dict[str, tuple[str, int]] = {
    "source-validation-loss": ("validation_loss", -1),
    "source-validation-accuracy": ("validation_accuracy", +1),
    "last": ("epoch", +1),
}
"""By name: the key of an epoch's record, and the sign with which more of it is better."""


@dataclass
class Selection:
    """Keeps the best epoch; the earlier one on a tie."""

    rule: str
    best: float | None = None
    epoch: int = 0

    def improves(self, record: dict[str, Any]) -> bool:
        """Whether this epoch (1-based `epoch` in its record) is the best so far; remembers it if so."""
        key, sign = RULES[self.rule]
        value = sign * float(record[key])
        if self.best is not None and value <= self.best:
            return False
        self.best, self.epoch = value, int(record["epoch"])
        return True

    def epochs_without_improvement(self, epoch: int) -> int:
        """Epochs since the best one."""
        return epoch - self.epoch
