"""Views, steps and model descriptions for tests of single components."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from datk.interfaces import ModelInfo, SourceView, Step, TargetView


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
