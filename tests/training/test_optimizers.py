"""Optimisers of a configuration."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from datk.training.optimizers import optimizer_of
from tests import build
from tests.toys import TOYS

HEAVY = ("torch._dynamo", "sympy", "sklearn", "scipy", "pandas", "torchvision", "PIL")


def steps(optimizer, model, count=5):
    """Weights after some steps on fixed gradients."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(count):
        for parameter in model.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()
    return [parameter.detach().clone() for parameter in model.parameters()]


@pytest.mark.parametrize(
    ("options", "kind", "theirs"),
    [
        ({}, torch.optim.Adam, {"betas": (0.7, 0.8), "weight_decay": 1e-4, "amsgrad": True}),
        (
            {"optimizer": "adamw", "weight_decay": 0.1, "betas": (0.9, 0.99), "amsgrad": False},
            torch.optim.AdamW,
            {"betas": (0.9, 0.99), "weight_decay": 0.1},
        ),
        (
            {"optimizer": "sgd", "weight_decay": 1e-3},
            torch.optim.SGD,
            {"momentum": 0.9, "nesterov": True, "weight_decay": 1e-3},
        ),
        ({"optimizer": "sgd", "momentum": 0}, torch.optim.SGD, {"weight_decay": 1e-4}),
    ],
)
@pytest.mark.parametrize("mode", ["none", "default"])
def test_it_steps_as_that_of_torch(options, kind, theirs, mode):
    chosen = build.experiment(train={"lr": 0.02, "compile": mode, **options})
    ours, same = (build.objective(chosen, build.dataset(chosen).info) for _ in range(2))
    optimizer = optimizer_of(ours, chosen.config.train)
    assert isinstance(optimizer, kind)
    expected = steps(kind(same.parameters(), lr=0.02, fused=True, **theirs), same)
    for mine, other in zip(steps(optimizer, ours), expected, strict=True):
        assert torch.equal(mine, other)


def test_a_table_is_run_without_what_takes_longer_to_import_than_it_to_train(tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "a.npz", x=rng.normal(size=(80, 4)), y=np.arange(80) % 2)
    keys = {"source": "a.npz", "source_x": "x", "source_y": "y", "target": "a.npz", "target_x": "x"}
    flags = [f"--set=pair.{key}={value}" for key, value in keys.items()]
    run = ["run", "--pair", "arrays", "--align", "mmd", "--epochs", "1", "--quiet", "--out", "run", *flags]
    code = f"""
import sys
from datk.cli.main import main
try:
    main({run})
except SystemExit as ended:
    assert not ended.code, ended.code
print(*[name for name in {HEAVY} if name in sys.modules])
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["run"]


def test_another_optimiser_is_refused():
    with pytest.raises(Exception, match=r"train.optimizer must be 'adam', 'adamw' or 'sgd'"):
        build.experiment(pair=TOYS + "Toy", train={"optimizer": "lion"})


@pytest.mark.parametrize(
    ("options", "steps_per_epoch", "expected"),
    [
        ({}, 1, 600), ({}, 40, 20), ({}, 7, 86), ({"epochs": 3}, 1, 3), ({"steps": 10}, 3, 4),
        ({"steps": 10}, 100, 1),
    ],
)  # fmt: skip
def test_small_tables_are_passed_more_often(options, steps_per_epoch, expected):
    from datk.training.schedules import epochs

    assert epochs(build.experiment(train=options).config.train, steps_per_epoch) == expected


def test_epochs_and_steps_are_one_length():
    with pytest.raises(Exception, match="give one of them"):
        build.experiment(train={"epochs": 3, "steps": 10})
