"""Conformance checks for components: what `datk plugins check` runs, and a plugin's own tests can.

from datk.testing import assert_conforms
from my_package import MyLoss

def test_my_loss_keeps_the_interface():
    assert_conforms(MyLoss)
"""

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from datk.base.errors import ConfigError, DataError
from datk.base.rng import numpy_generator, torch_generator
from datk.config.describe import options
from datk.data.inspection import inspect_pair
from datk.data.published.records import MissingDataError
from datk.interfaces import (
    Backbone,
    ComponentConfig,
    DomainPair,
    LossTerm,
    ModelInfo,
    PairInfo,
    Samples,
    SourceView,
    Step,
    TargetView,
    TermConfig,
)
from datk.training.objective import check_groups

Fault = str | None
CLASSES = ("a", "b", "c")
SHAPES = ((3, 75, 75), (1, 32, 32), (16,))
FEATURES = 24


class ToyPair(DomainPair):
    """Two Gaussian clouds of feature vectors, the target's shifted: a pair for a plugin's own tests."""

    def __init__(self, config: Any = None, rows: int = 60, features: int = 8) -> None:
        rng = numpy_generator(0, "toy-pair")
        self.classes = ("a", "b")
        self.source_labels = np.arange(rows) % 2
        self._answers = np.arange(rows) % 2
        centres = np.stack([np.zeros(features), np.full(features, 1.5)])
        noise = rng.normal(size=(2, rows, features))
        self.source = Samples((centres[self.source_labels] + noise[0]).astype(np.float32))
        self.target = Samples((centres[self._answers] + noise[1] + 0.7).astype(np.float32))

    def answers(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Class numbers of the given target rows."""
        labels: npt.NDArray[np.int64] = self._answers[rows]
        return labels


def views(
    source_rows: int = 6, target_rows: int = 4, features: int = FEATURES
) -> tuple[SourceView, TargetView]:
    """Random views of both domains, of unequal size, whose features and logits want gradients."""
    generator = torch_generator(0, "views")

    def fields(rows: int) -> dict[str, Any]:
        x, z, logits = (torch.randn(rows, n, generator=generator) for n in (5, features, len(CLASSES)))
        z, logits = z.relu().requires_grad_(), logits.requires_grad_()
        return {
            "x": x,
            "index": torch.arange(rows),
            "features": z,
            "logits": logits,
            "layers": {"features": z},
        }

    labels = torch.arange(source_rows) % len(CLASSES)
    return SourceView(**fields(source_rows), labels=labels), TargetView(**fields(target_rows))


def assert_conforms(cls: type) -> None:
    """Run all checks of a component's kind. Raises AssertionError that names the first fault."""
    for name, fault in check(cls):
        assert fault is None, f"{cls.__name__}: {name}: {fault}"


def check(cls: Any) -> Iterator[tuple[str, Fault]]:
    """Run the checks one by one: (what is checked, what is wrong or None)."""
    specific: Callable[[Any, Any], Iterator[tuple[str, Fault]]]
    base: type[ComponentConfig] = ComponentConfig
    if not isinstance(cls, type):
        yield "is a component", "it is no class"
        return
    if issubclass(cls, Backbone):
        specific = _check_backbone
    elif issubclass(cls, LossTerm):
        specific, base = _check_term, TermConfig
    elif issubclass(cls, DomainPair):
        specific = _check_pair
    else:
        yield "is a component", "it is no Backbone, AlignmentLoss, Regularizer or DomainPair"
        return
    yield (
        "has a docstring",
        None if (cls.__doc__ or "").strip() else "write what it is, and a line 'Reference: ...'",
    )
    config_class = cls.Config
    if not (isinstance(config_class, type) and issubclass(config_class, base)):
        yield "its Config is one", f"Config must be a subclass of {base.__name__}"
        return
    bare = [option.name for option in options(config_class) if not option.meaning]
    yield "every option is documented", f"no docstring under {', '.join(bare)}" if bare else None
    try:
        config = config_class()
    except ValueError as error:
        yield "works with default options", str(error).partition("\n")[0]
        return
    try:
        yield from specific(cls, config)
    except Exception as error:
        yield "runs without an exception", f"{type(error).__name__}: {error}"


def _check_groups(module: Any) -> Fault:
    try:
        check_groups(type(module).__name__, module)
    except Exception as error:
        return str(error)
    return None


def _check_backbone(cls: type[Backbone], config: Any) -> Iterator[tuple[str, Fault]]:
    worked = []
    for shape in SHAPES:
        try:
            torch.manual_seed(0)
            backbone = cls(config, PairInfo(shape, CLASSES))
        except DataError:
            continue
        worked.append(shape)
        yield from _check_backbone_on(backbone, shape)
    yield "accepts images or feature vectors", None if worked else f"refuses all of {SHAPES}"


def _check_backbone_on(backbone: Backbone, shape: tuple[int, ...]) -> Iterator[tuple[str, Fault]]:
    on = f"on {list(shape)}"
    x = torch.randn(4, *shape, generator=torch_generator(0, "x"))
    layers = backbone.embed(x)
    features = layers.get("features")
    good = features is not None and features.ndim == 2 and len(features) == 4
    yield f"embed gives features [B, D] {on}", None if good else "embed must return them under 'features'"
    logits = backbone(x)
    shaped = tuple(logits.shape) == (4, len(CLASSES))
    yield f"the head gives logits [B, K] {on}", None if shaped else f"their shape is {list(logits.shape)}"
    yield f"every parameter is in one group {on}", _check_groups(backbone)
    torch.autograd.backward(nn.functional.cross_entropy(logits, torch.arange(4) % len(CLASSES)))
    unreached = [name for name, p in backbone.named_parameters() if p.requires_grad and p.grad is None]
    yield f"the gradient reaches every parameter {on}", f"not {', '.join(unreached)}" if unreached else None
    backbone.eval()
    before = copy.deepcopy(backbone.state_dict())
    with torch.no_grad():
        same = torch.equal(backbone(x), backbone(x)) and torch.allclose(
            backbone(x)[:1], backbone(x[:1]), atol=1e-4
        )
    same &= all(torch.equal(before[name], value) for name, value in backbone.state_dict().items())
    yield (
        f"evaluation is stateless, row by row {on}",
        None if same else "eval() mode changes state or mixes rows",
    )


def _check_term(cls: type[LossTerm], config: Any) -> Iterator[tuple[str, Fault]]:
    torch.manual_seed(0)
    model = ModelInfo(CLASSES, {"features": (FEATURES,)}, source_size=6, target_size=4)
    term = cls(config, model)
    step = Step(torch.tensor(0.5), cls.phases[0].name if hasattr(cls, "phases") else "train")
    source, target = views()
    value = term(source, target, step)
    shaped = isinstance(value, Tensor) and value.ndim == 0 and value.dtype == torch.float32
    yield "gives a 0-d float32 tensor", None if shaped else f"it gives {value!r}"
    yield "is finite for unequal batches", None if bool(torch.isfinite(value)) else f"it is {float(value)}"
    if value.requires_grad:
        torch.autograd.backward(value)
        leaves = [source.features, source.logits, target.features, target.logits, *term.parameters()]
        finite = all(bool(leaf.grad.isfinite().all()) for leaf in leaves if leaf.grad is not None)
        yield "its gradients are finite", None if finite else "a gradient is NaN or infinite"
    yield "every parameter is in one group", _check_groups(term)
    if not cls.needs_target:
        alone = term(views(6, 1)[0], views(6, 0)[1], step)
        yield "works without target rows", None if bool(torch.isfinite(alone)) else "it is not finite"
    yield "stays on the device", _leaves_the_device(term, step)
    yield "is a mean over rows, or says over_batch = True", _is_no_mean(copy.deepcopy(term).eval(), step)
    other = cls(config, model)
    other.load_state_dict(term.state_dict())
    term.eval(), other.eval()
    again = torch.equal(term(source, target, step), other(source, target, step))
    yield (
        "its state can be saved and restored",
        None if again else "a copy with the same state gives another value",
    )


def _each(view: SourceView | TargetView, change: Callable[[Tensor], Tensor]) -> Any:
    """A view with each of its tensors changed."""
    names = [field.name for field in fields(view) if field.name not in ("layers", "shared")]
    changed: dict[str, Any] = {name: change(getattr(view, name)) for name in names}
    layers = {name: change(layer) for name, layer in view.layers.items()}
    return replace(view, **changed, layers=layers, shared={})


@torch.no_grad()
def _is_no_mean(term: LossTerm, step: Step) -> Fault:
    """Compare the value with the mean of those of two halves, as two processes would have them."""
    if term.over_batch:
        return None

    def value(rows: slice) -> float:
        return float(term(*(_each(view, lambda tensor: tensor[rows]) for view in views(8, 8)), step))

    whole, halves = value(slice(None)), (value(slice(4)) + value(slice(4, None))) / 2
    if not math.isclose(whole, halves, rel_tol=1e-3, abs_tol=1e-5) and whole == value(slice(None)):
        return f"it is {whole:.4g} of a batch and {halves:.4g} on average of its halves"
    return None


def _leaves_the_device(term: LossTerm, step: Step) -> Fault:
    """Run the term on tensors without values, where `.item()` and `if tensor` cannot work."""
    empty = [_each(view, lambda tensor: tensor.detach().to("meta")) for view in views()]
    try:
        copy.deepcopy(term).to("meta")(*empty, Step(step.progress.to("meta"), step.phase))
    except (RuntimeError, NotImplementedError) as error:
        return f"it reads values in forward ({str(error).partition(chr(10))[0]})"
    return None


def _check_pair(cls: type[DomainPair], config: Any) -> Iterator[tuple[str, Fault]]:
    try:
        pair = cls(config)
    except ConfigError as error:
        yield f"data not checked, they need options ({error})", None
        return
    except MissingDataError:
        yield "data not checked, they have not been fetched", None
        return
    try:
        inspected = inspect_pair(pair)
    except DataError as error:
        yield "its data can be trained on", str(error)
        return
    yield "its data can be trained on", None
    again = inspect_pair(cls(config)).checksum
    yield "the same options give the same data", None if again == inspected.checksum else "they differ"
    rows = np.arange(pair.target.x.shape[0])
    everything, some = pair.answers(rows), pair.answers(rows[1::2])
    if everything is None or some is None:
        yield "answers are known for all rows or none", None if everything is some else "for some only"
    else:
        matching = everything.shape == rows.shape and np.array_equal(everything[1::2], some)
        yield (
            "answers follow the rows asked for",
            None if matching else "answers(rows) must give a label per row",
        )
