"""Checks of backbones."""

import copy
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

from datk.base.rng import reproducible, torch_generator
from datk.config.resolve import built_backbone
from datk.interfaces import Backbone, DataError, PairInfo
from datk.testing.terms import Check, resumes
from datk.testing.toys import CLASSES, MeanGap
from datk.testing.trial import Setting, Trial, component
from datk.testing.watch import FaultError
from datk.training.network_contract import check_groups
from datk.training.objective import CPU

SHAPES = ((3, 75, 75), (1, 32, 32), (16,))
"""What it is tried on, the cheapest last."""
LARGER = ((3, 128, 128), (3, 224, 224), (1, 224, 224))
"""What it is tried on if it takes none of these."""
ROWS = 4


def check_backbone(cls: type[Backbone], config: Any) -> Iterator[Check]:
    """Look at what it gives for samples of every shape that it takes, and train it on one of them."""
    taken: list[tuple[int, ...]] = []
    for shape in (*SHAPES, *LARGER):
        if taken and shape in LARGER:
            break
        try:
            backbone = _built(cls, config, PairInfo(shape, CLASSES))
        except DataError:
            continue
        taken.append(shape)
        try:
            yield from _outputs(backbone, shape)
        except Exception as error:
            advice = "raise DataError in __init__ for shapes that cannot work"
            yield f"works on {list(shape)}, or refuses it", f"{type(error).__name__}: {error}; {advice}"
            return
    fault = f"it refuses all of {', '.join(str(list(shape)) for shape in (*SHAPES, *LARGER))}"
    yield "accepts images or feature vectors", None if taken else fault
    if taken:
        yield from _numbers(cls, config, taken[-1])
        yield from _training(cls, config, taken[-1])


def _built(cls: type[Backbone], config: Any, pair: PairInfo) -> Backbone:
    chosen = built_backbone(component("backbone", cls, config), pair)
    with reproducible(CPU, deterministic=True):
        torch.manual_seed(0)
        built: Backbone = chosen.cls(chosen.config, pair)
        return built


def _outputs(backbone: Backbone, shape: tuple[int, ...]) -> Iterator[Check]:
    """Shapes, gradients and evaluation."""
    on = f"on {list(shape)}"
    x = torch.randn(ROWS, *shape, generator=torch_generator(0, "x"))
    domain = torch.arange(ROWS) % 2
    before = x.clone()
    with reproducible(CPU, deterministic=True):
        layers = backbone.layers_of(x, domain)
        features = layers.get("features")
        good = features is not None and features.ndim == 2 and len(features) == ROWS
        yield f"embed gives features [B, D] {on}", None if good else "embed must return them under 'features'"
        if features is None:
            return
        logits = backbone.head(features)
    yield f"embed leaves its input as it is {on}", None if torch.equal(x, before) else "it changes x in place"
    shaped = tuple(logits.shape) == (ROWS, len(CLASSES))
    yield f"the head gives logits [B, K] {on}", None if shaped else f"their shape is {list(logits.shape)}"
    if not shaped:
        return
    yield f"every parameter is in one group {on}", _ungrouped(backbone)
    torch.autograd.backward(nn.functional.cross_entropy(logits, torch.arange(ROWS) % len(CLASSES)))
    unreached = [name for name, p in backbone.named_parameters() if p.requires_grad and p.grad is None]
    yield f"the gradient reaches every parameter {on}", f"not {', '.join(unreached)}" if unreached else None
    backbone.eval()
    state = copy.deepcopy(backbone.state_dict())
    with torch.no_grad():
        whole = backbone(x, domain)
        same = torch.equal(whole, backbone(x, domain))
        same &= torch.allclose(whole[:1], backbone(x[:1], domain[:1]), atol=1e-4)
    same &= all(torch.equal(state[name], value) for name, value in backbone.state_dict().items())
    fault = None if same else "eval() mode changes state or mixes rows"
    yield f"evaluation is stateless, row by row {on}", fault


def _ungrouped(backbone: Backbone) -> str | None:
    try:
        check_groups(type(backbone).__name__, backbone)
    except Exception as error:
        return str(error)
    return None


def _numbers(cls: type[Backbone], config: Any, shape: tuple[int, ...]) -> Iterator[Check]:
    """A head for a regression."""
    x = torch.randn(ROWS, *shape, generator=torch_generator(0, "x"))
    fault = None
    try:
        backbone = _built(cls, config, PairInfo(shape, targets=("mass", "size"), outputs=2)).eval()
        given = list(backbone(x, torch.zeros(ROWS, dtype=torch.int64)).shape[1:])
        fault = None if given == [2] else f"it gives {given} numbers of 2"
    except Exception as error:
        fault = f"{type(error).__name__}: {error}"
    yield "the head has pair.outputs outputs, also where there are no classes", fault


def _training(cls: type[Backbone], config: Any, shape: tuple[int, ...]) -> Iterator[Check]:
    """Short runs with a term that looks at both domains."""
    setting = Setting(
        component("backbone", cls, config),
        (component("alignment", MeanGap),),
        shape=shape,
        small=True,
        on_device=True,
    )
    with TemporaryDirectory() as folder:
        try:
            base = Trial(setting, Path(folder) / "run").fit()
        except FaultError as error:
            yield "trains", str(error)
            return
        yield "trains", None
        yield "stays on the device", "; ".join(base.watch.reads[:2]) or None
        yield "leaves the batch as it is", "; ".join(base.watch.changes[:2]) or None
        unmoved = sorted(name.removeprefix("backbone.") for name in base.unmoved())
        yield "its parameters are trained", f"not {', '.join(unmoved)}" if unmoved else None
        yield from resumes(setting, base)
