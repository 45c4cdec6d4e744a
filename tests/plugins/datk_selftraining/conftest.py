"""Tiny runs of a method: whole, interrupted, and on other answers."""

import pytest

import datk
from datk.training.checkpoints import Checkpoints
from tests.toys import TOYS

INTERRUPTION = """
from datk.interfaces import hookimpl

@hookimpl
def epoch_ended(record):
    raise KeyboardInterrupt
"""


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
                "train.select": "last",
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
