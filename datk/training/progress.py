"""Who looks at the progress of training, which depends on how many epochs there are to be."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

NOT_READ = {
    *("ones_like", "zeros_like", "full_like", "empty_like", "rand_like", "randn_like"),
    *("new_ones", "new_zeros", "new_full", "new_empty", "new_tensor"),
    *("dim", "size", "numel", "ndimension", "is_floating_point", "get_device"),
}
"""Functions that ask a tensor for its shape, type and device alone."""


class Watch:
    """Notes whether the value of a tensor was read: by Python, or by any other computation.

    Example:
        >>> watch, progress = Watch(), torch.zeros(())
        >>> torch.ones_like(watch.over(progress)), watch.read
        (tensor(1.), False)
        >>> watch.over(progress) + 1, watch.read
        (tensor(1.), True)
    """

    def __init__(self) -> None:
        self.read = False

    def over(self, tensor: Tensor) -> Tensor:
        """The same tensor, in the same memory, whose use is noted."""
        watched = tensor.as_subclass(_Watched)
        watched.watch = self
        return watched


class _Watched(Tensor):
    watch: Watch

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with torch._C.DisableTorchFunctionSubclass():
            made = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        asks = name in NOT_READ or (name == "__get__" and not isinstance(made, Tensor))
        if not asks:
            for tensor in _watched((args, kwargs)):
                tensor.watch.read = True
        return made


def not_longer(folder: Path, epochs: int, reason: str) -> str:
    """Why a run cannot be trained for more epochs than it was started with, and what to do."""
    return (
        f"cannot resume {folder}: with train.epochs={epochs} the epochs done are not the first ones of a run "
        f"of {epochs}, as {reason}; train {epochs} from the start with another --out, or start from these "
        f"weights by --init {folder}"
    )


def _watched(value: Any) -> list[_Watched]:
    """The watched tensors in nested arguments."""
    if isinstance(value, _Watched):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [found for part in value for found in _watched(part)] if isinstance(value, list | tuple) else []
