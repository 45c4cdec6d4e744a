"""What a component does while it is trained: what it reads off the device, what it changes, what it keeps."""

import functools
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from datk.interfaces import EpochRows, LossTerm, View

TO_THE_HOST = {
    *("item", "tolist", "numpy", "cpu", "__bool__", "__int__", "__float__", "__index__", "__complex__"),
    *("__array__", "__contains__", "__format__", "is_nonzero", "equal", "allclose"),
    *("nonzero", "argwhere", "masked_select", "unique", "unique_consecutive", "bincount"),
}
"""Functions that wait for the device: they read values, or make a tensor whose size depends on values."""
WRITTEN = {
    "__bool__": "bool() or if",
    "__int__": "int()",
    "__float__": "float()",
    "__index__": "an index",
    "__array__": "np.asarray()",
    "__contains__": "in",
}
ACROSS = {"to", "type_as", "copy_", "__getitem__", "__setitem__", "__get__", "__set__", "set_"}
"""Functions that may take tensors of the host beside those of the device."""
TORCH = str(Path(torch.__file__).parent)


class FaultError(Exception):
    """What is wrong, in words for the author."""


class OnDevice(TorchFunctionMode):
    """Notes what would not stay on a GPU: values that are read, and tensors of the host in its company.

    On a CPU nothing of that fails. A tensor counts as the host's if it was made within the block, of no other
    tensor and without a device.
    """

    def __init__(self, note: Callable[[str], None]) -> None:
        super().__init__()
        self.note = note

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", str(func))
        tensors = list(_tensors((args, kwargs)))
        device = [tensor for tensor in tensors if not hasattr(tensor, "on_host")]
        if device:
            if read := _reads(name, args, kwargs):
                self.note(f"{read} ({_line()})")
            elif name not in ACROSS and any(t.ndim for t in tensors if hasattr(t, "on_host")):
                self.note(f"a tensor made without device=, beside those of the batch ({_line()})")
        made = func(*args, **kwargs)
        told = kwargs.get("device") or (
            name == "to" and any(isinstance(value, torch.device | str) for value in args)
        )
        for tensor in _tensors(made):
            if told or device:
                vars(tensor).pop("on_host", None)
            else:
                tensor.on_host = True  # type: ignore[attr-defined]
        return made


def _reads(name: str, args: Any, kwargs: Any) -> str | None:
    """What the author wrote, if a function reads values of a tensor of the device."""
    if name in TO_THE_HOST:
        return WRITTEN.get(name, f".{name.strip('_')}()")
    if name == "to" and any(str(value) == "cpu" and isinstance(value, str) for value in args[1:]):
        return ".to('cpu')"
    if name in ("tensor", "as_tensor") and not isinstance(args[0], Tensor):
        return "torch.tensor() of tensors"
    if name == "__getitem__" and any(t.dtype == torch.bool for t in _tensors(args[1:])):
        return "selecting rows by a mask"
    if name == "where" and len(args) == 1 and not kwargs:
        return "where() of a condition alone"
    if name == "one_hot" and len(args) + len(kwargs) == 1:
        return "one_hot() without the number of classes"
    return None


def _tensors(value: Any) -> Iterator[Tensor]:
    """The tensors in nested arguments."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _tensors(part)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))


def _line() -> str:
    """Where in the author's code this is."""
    frame = sys._getframe(1)
    while frame.f_back and (
        frame.f_code.co_filename.startswith(TORCH) or frame.f_code.co_filename == __file__
    ):
        frame = frame.f_back
    return f"{Path(frame.f_code.co_filename).name}, line {frame.f_lineno}"


class Still(TorchFunctionMode):
    """Draws give their middle, permutations nothing new, and dropout drops nothing, so that a value depends
    on rows alone."""

    MIDDLE: ClassVar = {
        **dict.fromkeys(("rand", "rand_like", "uniform_"), 0.5),
        **dict.fromkeys(
            ("randn", "randn_like", "normal_", "randint", "random_", "bernoulli", "bernoulli_"), 0
        ),
    }

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if "dropout" in name:
            return args[0]
        made = func(*args, **(kwargs or {}))
        if name == "randperm":
            return made.sort().values
        return made.fill_(self.MIDDLE[name]) if name in self.MIDDLE else made


class Watch:
    """What is noted of a run's terms; `place` is where they are at the moment."""

    def __init__(self) -> None:
        self.place = "__init__"
        self.phase = "train"
        self.looking = False
        """Whether the watch itself reads values."""
        self.reads: list[str] = []
        self.changes: list[str] = []
        self.values: dict[str, list[Tensor]] = {}
        """Values of a term by phase, without gradient."""
        self.with_gradient = False
        """Whether some value had one."""
        self.draws_before_epochs = False
        self.reads_source_rows = False
        """Whether the rows of the source were looked at before an epoch."""

    def note(self, text: str) -> None:
        """Keep what a component read off the device."""
        told = f"{text} in {self.place}"
        if not self.looking and told not in self.reads:
            self.reads.append(told)

    @contextmanager
    def _looking(self) -> Iterator[None]:
        """Read values for the watch itself."""
        self.looking = True
        try:
            yield
        finally:
            self.looking = False

    def follow(self, term: LossTerm) -> None:
        """Watch what a term does, until it is gone."""
        for name in ("setup", "predictor", "plan"):
            self._wrap(term, name, lambda method, *arguments: method(*arguments))
        self._wrap(term, "on_epoch_start", self._on_epoch_start)
        self._wrap(term, "after_step", self._after_step)
        self._wrap(term, "supervision", self._unchanged)
        self._wrap(term, "forward", self._forward)

    def _wrap(self, term: LossTerm, name: str, around: Callable[..., Any]) -> None:
        method = getattr(term, name)

        @functools.wraps(method)
        def wrapped(*arguments: Any, **named: Any) -> Any:
            in_step = name in ("forward", "supervision")
            self.place = f"{name}, phase '{self.phase}'" if in_step else name
            return around(functools.partial(method, **named), *arguments)

        setattr(term, name, wrapped)

    def _on_epoch_start(self, method: Callable[..., Any], backbone: Any, rows: EpochRows) -> None:
        state = torch.get_rng_state()
        method(backbone, EpochRows(_Noticed(rows.source, self), rows.target))
        self.draws_before_epochs |= not torch.equal(state, torch.get_rng_state())

    def _after_step(self, method: Callable[..., Any], backbone: Any) -> None:
        with OnDevice(self.note):
            method(backbone)

    def _forward(self, method: Callable[..., Any], *arguments: Any) -> Any:
        value = self._unchanged(method, *arguments)
        number = value[0] if isinstance(value, tuple) else value
        with self._looking():
            self._keep(number)
        return value

    def _keep(self, number: Any) -> None:
        """See that a term gives a number, and remember it."""
        if isinstance(number, Tensor) and number.ndim == 0:
            if number.dtype != torch.float32:
                raise FaultError(f"it gives {number.dtype} in phase '{self.phase}', not torch.float32")
            if not number.isfinite():
                raise FaultError(f"it gives {number.detach():g} in phase '{self.phase}'")
            self.values.setdefault(self.phase, []).append(number.detach())
            self.with_gradient |= number.requires_grad

    def _unchanged(self, method: Callable[..., Any], *arguments: Any) -> Any:
        """Call the method, and see that the views are left as they were."""
        before = [(name, t, t._version, t.clone()) for name, t in _of_views(arguments)]
        value = method(*arguments)
        with self._looking():
            for name, tensor, version, copy in before:
                if tensor._version != version or not torch.equal(tensor.nan_to_num(), copy.nan_to_num()):
                    told = f"{self.place} changes {name} in place"
                    self.changes += [told] * (told not in self.changes)
        return value


def _of_views(arguments: Iterable[Any]) -> Iterator[tuple[str, Tensor]]:
    for view in arguments:
        if isinstance(view, View):
            domain = "source" if hasattr(view, "labels") else "target"
            named = {f"layers['{name}']": layer for name, layer in view.layers.items() if name != "features"}
            for name in ("x", "index", "domain", "labels", "features", "logits"):
                named |= {name: getattr(view, name)} if hasattr(view, name) else {}
            for name, tensor in named.items():
                yield f"{domain}.{name}", tensor


class _Noticed:
    """Rows that tell a watch if they are read."""

    def __init__(self, rows: Iterable[Any], watch: Watch) -> None:
        self.rows, self.watch = rows, watch

    def __iter__(self) -> Iterator[Any]:
        self.watch.reads_source_rows = True
        return iter(self.rows)


# --- what is not saved ---------------------------------------------------------------------------------

OWN = {
    *vars(nn.Module()),
    "forward",
    "setup",
    "predictor",
    "plan",
    "on_epoch_start",
    "after_step",
    "supervision",
}


def unsaved(module: nn.Module) -> dict[str, Any]:
    """What a module and its parts keep beside their state, by name: attributes and non-persistent buffers."""
    found: dict[str, Any] = {}
    for prefix, part in module.named_modules():
        within = f"{prefix}." if prefix else ""
        for name in part._non_persistent_buffers_set:
            found[f"buffer {within}{name} (persistent=False)"] = _frozen(part._buffers[name])
        for name, value in vars(part).items():
            if name not in OWN:
                found[f"attribute {within}{name}"] = _frozen(value)
    return found


def _frozen(value: Any) -> Any:
    """A copy in plain lists, of what can be compared; None of other things."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, list | tuple | set):
        return [_frozen(part) for part in value]
    if isinstance(value, dict):
        return {str(key): _frozen(part) for key, part in value.items()}
    if isinstance(value, nn.Module):
        return {name: _frozen(tensor) for name, tensor in value.state_dict().items()}
    return value if isinstance(value, int | float | str | bool) else None


def same(one: Any, other: Any) -> bool:
    """Whether two nested states are equal, bit for bit."""
    if isinstance(one, Tensor):
        return isinstance(other, Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, np.ndarray):
        return isinstance(other, np.ndarray) and np.array_equal(one, other)
    if isinstance(one, dict):
        return (
            isinstance(other, dict)
            and one.keys() == other.keys()
            and all(same(one[k], other[k]) for k in one)
        )
    if isinstance(one, list):
        return isinstance(other, list) and len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def lists_of_modules(module: nn.Module) -> list[str]:
    """Attributes that hold networks or parameters in plain containers, where nothing finds them."""

    def holds(value: Any) -> bool:
        if isinstance(value, dict):
            value = list(value.values())
        return isinstance(value, list | tuple | set) and any(
            isinstance(part, nn.Module | nn.Parameter) or holds(part) for part in value
        )

    return [
        f"{prefix}.{name}".lstrip(".")
        for prefix, part in module.named_modules()
        for name, value in vars(part).items()
        if name not in OWN and holds(value)
    ]
