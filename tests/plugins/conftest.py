"""Views, steps and model descriptions for tests of single components; tiny runs of a method: whole,
interrupted, and on other answers."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import datk
from datk.interfaces import ModelInfo, SourceView, Step, TargetView
from datk.training.checkpoints import Checkpoints
from tests.toys import TOYS

INTERRUPTION = """
from datk.interfaces import hookimpl

@hookimpl
def epoch_ended(record):
    raise KeyboardInterrupt
"""


@pytest.fixture
def model() -> Callable[..., ModelInfo]:
    """Describes a model with `dim` features and `classes` classes."""

    def make(dim: int = 4, classes: int = 2) -> ModelInfo:
        names = tuple(f"class{number}" for number in range(classes))
        return ModelInfo(names, {"features": (dim,)}, source_size=100, target_size=100)

    return make


@pytest.fixture
def views() -> Callable[..., tuple[SourceView, TargetView]]:
    """Views of given features [B, D]; logits and labels are drawn unless they are given."""

    def make(
        source: Tensor,
        target: Tensor,
        labels: Tensor | None = None,
        source_logits: Tensor | None = None,
        target_logits: Tensor | None = None,
        classes: int = 2,
    ) -> tuple[SourceView, TargetView]:
        generator = torch.Generator().manual_seed(0)

        def common(features: Tensor, logits: Tensor | None, domain: int) -> dict[str, Any]:
            rows = len(features)
            if logits is None:
                logits = torch.randn(rows, classes, generator=generator)
            return {
                "x": features,
                "index": torch.arange(rows),
                "domain": torch.full((rows,), domain),
                "features": features,
                "logits": logits,
                "layers": {"features": features},
            }

        if labels is None:
            labels = torch.randint(classes, (len(source),), generator=generator)
        return (
            SourceView(**common(source, source_logits, 0), labels=labels),
            TargetView(**common(target, target_logits, 1)),
        )

    return make


@pytest.fixture
def step() -> Callable[[float], Step]:
    """The step at a progress between 0 and 1."""
    return lambda progress=0.5: Step(torch.tensor(float(progress)), "train")


# --- runs ----------------------------------------------------------------------------------------------


@pytest.fixture
def tiny(tmp_path):
    """Runs of two epochs of three classes, by the names of their folders."""

    def run(name, align, pair=None, epochs=2, hook=None, **kwargs):
        return datk.run(
            pair={"name": TOYS + "Toy", "classes": 3, **(pair or {})},
            backbone={"name": "mlp", "hidden": [8, 5], "dropout": 0.2},
            align=align,
            epochs=epochs,
            device="cpu",
            out=tmp_path / name,
            set={
                "train.batch_size": 16,
                "data.target_rows": "split",
                "data.standardize": "per-domain",
                "train.log_every": 1,
                "hooks": [] if hook is None else [str(hook)],
            },
            **kwargs,
        )

    return run


@pytest.fixture
def check_interruption(tiny, tmp_path):
    """A run that is interrupted after each epoch, and resumed, ends with the weights of one that is not."""

    def check(align, **kwargs):
        hook = tmp_path / "interrupt.py"
        hook.write_text(INTERRUPTION)
        whole = tiny("whole", align, **kwargs)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                tiny("stopped", align, hook=hook, resume=True, **kwargs)
        resumed = tiny("stopped", align, resume=True, **kwargs)
        assert resumed.weights_sha256 == whole.weights_sha256
        assert resumed.metrics == whole.metrics
        notes = (resumed.folder / "log.txt").read_text()
        assert "resumed after epoch 1" in notes
        assert "resumed after epoch 2" in notes
        return whole

    return check


@pytest.fixture
def check_answers(tiny):
    """Other answers of the target give the same weights, and other scores."""

    def check(align, **kwargs):
        runs = [tiny(f"answers-{k}", align, pair={"permute_answers": k}, **kwargs) for k in (1, 2)]
        assert runs[0].weights_sha256 == runs[1].weights_sha256
        assert runs[0].metrics["source"] == runs[1].metrics["source"]
        assert runs[0].metrics["target"] != runs[1].metrics["target"]

    return check


@pytest.fixture
def weights():
    """The tensors of the model that a run kept."""
    return lambda result: Checkpoints(result.folder).load_selected()
