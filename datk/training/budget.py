"""How many epochs a run trains where its time is limited (`train.time_budget`)."""

from typing import Any

MEASURED, USED = 0.1, 0.97
"""Part of the time after which the number of epochs is settled, and part of it that they are to fill: the
rest is for epochs that take longer than those before."""


class Budget:
    """Shortens a run so that it ends in time, with its schedule drawn together to the epochs that it has.

    After each epoch the time of one is estimated anew, until a tenth of the time is spent: from then on the
    number of epochs stays, so that the learning rate falls as it should, and a resumed run keeps it.

    Args:
        seconds: that training may take; None for any time.
        epochs: that it has if there is time for all.
    """

    def __init__(self, seconds: float | None, epochs: int) -> None:
        self.seconds, self.most, self.epochs = seconds, epochs, epochs
        self.settled = seconds is None
        self.first = 0.0
        """What the first epoch took, which also opens files and warms up what is computed with."""

    def plan(self, epoch: int, spent: float) -> bool:
        """Look at the clock after an epoch (from 1); whether the number of epochs is another one now.

        spent: seconds of training so far.
        """
        if self.seconds is None or self.settled:
            return False
        if epoch == 1:
            self.first = spent
        each = (spent - self.first) / (epoch - 1) if epoch > 1 else spent
        self.settled = epoch > 1 and spent >= MEASURED * self.seconds
        more = max(0.0, USED * self.seconds - spent) / max(each, 1e-9)
        before, self.epochs = self.epochs, min(self.most, epoch + int(more))
        return self.epochs != before

    def is_spent(self, spent: float) -> bool:
        """Whether no epoch may follow."""
        return self.seconds is not None and spent >= self.seconds

    def state(self) -> dict[str, Any]:
        """What resuming needs."""
        return {"epochs": self.epochs, "settled": self.settled, "first": self.first}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take up what `state` gave, if there is a budget; of a run that knew of none there is nothing."""
        if self.seconds is not None and state:
            self.epochs = min(self.most, int(state["epochs"]))
            self.settled, self.first = bool(state["settled"]), float(state["first"])
