"""Runs for tests, whole or a piece at a time."""

import pytest
import torch

import datk
from datk.config.resolve import resolve
from datk.data.dataset import prepare
from datk.training.checkpoints import Checkpoints
from datk.training.loop import Trainer
from datk.training.objective import Objective
from datk.training.report import Reporters
from tests.toys import TOYS

CPU = torch.device("cpu")


SPLIT = {"target_rows": "split"}
"""Parts of the target of their own, so that tests can tell them apart."""


def run(
    out, align="none", reg=(), backbone="mlp", epochs=2, pair=None, init=None, resume=False, data=(), **train
):
    """A short run on the toy pair, with options of the pair and of training."""
    return datk.run(
        pair={"name": TOYS + "Toy", **(pair or {})},
        backbone=backbone,
        align=align,
        reg=reg if isinstance(reg, dict) else list(reg),
        epochs=epochs,
        init=init,
        out=out,
        resume=resume,
        device="cpu",
        set={
            "train.batch_size": 16,
            **{f"data.{key}": value for key, value in {**SPLIT, **dict(data)}.items()},
            **{f"train.{key}": value for key, value in train.items()},
        },
    )


def run_in_two(out, epoch, *arguments, **options):
    """The same, interrupted as by Ctrl-C at the end of an epoch, which is lost, and resumed."""

    def stopped(self, record, original=Checkpoints.append_metrics):
        original(self, record)
        if record["kind"] == "epoch" and record["epoch"] == epoch:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoints, "append_metrics", stopped)
        with pytest.raises(KeyboardInterrupt):
            run(out, *arguments, **options)
    return run(out, *arguments, **options, resume=True)


def interrupted(out, epoch, **options):
    """A run with Ctrl-C after an epoch, which is kept."""

    def stopped(self, state, original=Checkpoints.save_last):
        original(self, state)
        if state["epoch"] == epoch:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoints, "save_last", stopped)
        run(out, save_every=0, **options)


def files(folder):
    """What is in a run folder, but for the files that tell of starts."""
    told = ("log.txt", "environment.json")
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name not in told}


def experiment(**config):
    """A resolved configuration of the toy pair and a perceptron, without alignment, but for what is given."""
    data = {**SPLIT, **config.pop("data", {})}
    return resolve(config={"pair": TOYS + "Toy", "backbone": "mlp", "align": "none", "data": data, **config})


def task_of(chosen):
    """The experiment's task."""
    return chosen.task.cls(chosen.task.config)


def dataset(chosen):
    """The experiment's data, on the CPU."""
    return prepare(chosen.pair.cls(chosen.pair.config), task_of(chosen), chosen.config, CPU)


def objective(chosen, info, source_size=100, target_size=100):
    """The experiment's model, set up for a pair of that description."""
    model = Objective(chosen, task_of(chosen), info, source_size, target_size)
    model.set_up(chosen.config.seed)
    return model


def trainer(out, align="none", reg=(), backbone="mlp", pair=None, reporters=(), **train):
    """What trains such a run; its files lie in `out`."""
    chosen = experiment(
        pair={"name": TOYS + "Toy", **(pair or {})},
        align=align,
        reg=reg if isinstance(reg, dict) else list(reg),
        backbone=backbone,
        train={"batch_size": 16, **train},
    )
    data = dataset(chosen)
    model = objective(chosen, data.info, data.training.source_size, data.training.target_size)
    (out / "checkpoints").mkdir(parents=True)
    return Trainer(
        model,
        data.standardizers,
        data.training,
        chosen.select.cls(chosen.select.config, model.task),
        chosen.config.train,
        chosen.config.seed,
        Checkpoints(out),
        Reporters(list(reporters)),
    )
