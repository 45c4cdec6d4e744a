"""Which epoch's weights are kept: the one with the largest score."""

from dataclasses import dataclass


@dataclass
class Selection:
    """Keeps the best epoch; of equal ones the earliest, unless a selector wants the latest."""

    rule: str
    best: float | None = None
    epoch: int = 0

    def improves(self, score: float, epoch: int, latest_of_equals: bool = False) -> bool:
        """Whether an epoch (from 1) is the best so far; remembers it if so. NaN is worse than any number."""
        if self.best is not None:
            equal = latest_of_equals and score == self.best
            if not (score > self.best or equal):
                return False
        self.best = score if score == score else float("-inf")
        self.epoch = epoch
        return True

    def epochs_without_improvement(self, epoch: int) -> int:
        """Epochs since the best one."""
        return epoch - self.epoch
