"""Several seeds as one program: each finds what its single run finds."""

import signal
from pathlib import Path

import pytest
import torch

import datk
from datk.config import resolve
from datk.data import prepare
from datk.errors import RunError
from datk.experiment import execute_seeds
from datk.stacking import CannotStackError
from datk.together import StackedData
from tests.curves import curve

TOYS = f"{Path(__file__).with_name('toys.py')}:"
CPU = torch.device("cpu")
SEEDS = (0, 1, 5)
EPOCHS = 5  # of 4 steps


def configured(align="mmd", reg=(), backbone="deepmerge", pair=None, together=True, **train):
    """Three seeds see three splits. For epsilon see tests/test_update.py."""
    return resolve(
        config={
            "pair": {"name": TOYS + "Toy", "shape": [3, 16, 16], "groups": "shared", **(pair or {})},
            "backbone": backbone,
            "align": align,
            "reg": reg if isinstance(reg, dict) else list(reg),
            "device": "cpu",
            "train": {
                "epochs": EPOCHS,
                "batch_size": 8,
                "eps": 1e-3,
                "log_every": 1,
                "augment": "dihedral",
                "together": together,
                **train,
            },
        }
    )


def ran(out, seeds=SEEDS, resume=False, **options):
    return execute_seeds(configured(**options), seeds, out, resume=resume)


def both(tmp_path, **options):
    """Results of the same seeds, together and one after another."""
    return ran(tmp_path / "together", **options), ran(tmp_path / "apart", together=False, **options)


def check_same(together, apart, tolerance=1e-3):
    for mine, theirs in zip(together, apart, strict=True):
        assert mine.seed == theirs.seed
        torch.testing.assert_close(
            curve(mine.folder), curve(theirs.folder), rtol=tolerance, atol=tolerance / 10
        )
        assert (mine.epochs, mine.selected_epoch) == (theirs.epochs, theirs.selected_epoch)
        assert mine.data_sha256 == theirs.data_sha256
        assert mine.metrics["target"]["test"] == pytest.approx(theirs.metrics["target"]["test"], abs=1e-3)


def told(result):
    return (result.folder / "log.txt").read_text()


METHODS = {
    "none": {"align": "none"},
    "mmd": {"align": "mmd", "reg": ["fisher", "entropy"]},
    "median": {"align": {"mmd": {"bandwidth": "median"}, "coral": {}}},
    "dann": {"align": {"dann": {"hidden": [6]}}, "reg": ["fisher", "entropy"]},
    "dropout everywhere": {
        "align": {"dann": {"hidden": [6]}},
        "backbone": {"name": "mlp", "dropout": 0.3, "hidden": [12, 6]},
    },
    "phases": {"align": TOYS + "Discrepancy", "reg": ["entropy"]},
    "a teacher": {"align": "mmd", "reg": [TOYS + "Teacher"]},
    "dropout of images": {"backbone": TOYS + "Dropping", "align": "mmd"},
    "draws after a step": {
        "backbone": {"name": "mlp", "dropout": 0.3},
        "align": "mmd",
        "reg": [TOYS + "Wandering"],
    },
    "bfloat16": {"align": "mmd", "precision": "bfloat16"},
    "balanced": {"align": "mmd", "balance": 15},
}


@pytest.mark.parametrize("method", METHODS)
def test_each_seed_finds_what_its_single_run_finds(method, tmp_path):
    together, apart = both(tmp_path, **METHODS[method])
    check_same(together, apart)
    assert len(curve(together[0].folder)) >= 20
    losses = [curve(result.folder) for result in together]
    assert not torch.allclose(losses[0], losses[1])
    for result in together:
        assert result.notes[-1] == "seeds 0, 1, 5 were trained together; seconds are those of all"
        assert "one after another" not in told(result)


def test_seeds_stop_early_each_by_itself(tmp_path):
    options = {"epochs": 40, "patience": 1, "schedule": "constant", "lr": 0.003, "augment": "none"}
    together, apart = both(tmp_path, backbone={"name": "mlp", "hidden": [4]}, align="coral", **options)
    check_same(together, apart)
    epochs = {result.epochs for result in together}
    assert len(epochs) > 1
    assert max(epochs) < 40


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"align": TOYS + "Centroid"}, "Centroid sets 'latest' in forward"),
        ({"reg": ["./draws.py:Draws"]}, "something else than a Dropout layer draws random numbers"),
        (
            {"backbone": {"name": TOYS + "Dropping", "channels": True}},
            "something else than a Dropout layer draws random numbers",
        ),
        ({"reg": ["./registers.py:Registers"]}, "Registers sets 'seen' in forward"),
        ({"reg": ["./reads.py:Reads"]}, ""),
        ({"reg": ["./sized.py:Sized"], "pair": {"source_rows": 41}}, "other shapes with other seeds"),
        ({"reg": ["./counts.py:Counts"], "pair": {"source_rows": 41}}, "'rows' of Counts differs"),
        ({"precision": "float16"}, "float16 has a scale for each seed"),
        ({"pair": {"source_rows": 44}, "batch_size": 5}, "their splits make 6 and 7 steps in an epoch"),
    ],
)
def test_what_cannot_be_stacked_is_trained_one_after_another(options, reason, tmp_path):
    """With the very weights of single runs: that it was tried leaves no trace."""
    start = "import torch\nfrom datk.interfaces import Regularizer\n"
    end = "    def forward(self, source, target, step):\n        return "
    init = "    def __init__(self, config, model):\n        super().__init__(config, model)\n        "
    for name, text in {
        "draws": f"class Draws(Regularizer):\n{end}(source.features * torch.rand(())).mean()\n",
        "reads": f"class Reads(Regularizer):\n{end}source.features.mean() * float(source.x.sum() > 0)\n",
        "sized": f"class Sized(Regularizer):\n{init}bank = torch.ones(model.source_size)\n"
        "        self.register_buffer('bank', bank)"
        f"\n{end}source.features.mean() * self.bank.mean()\n",
        "registers": "class Registers(Regularizer):\n    def forward(self, source, target, step):\n"
        "        self.register_buffer('seen', source.features.detach())\n"
        "        return source.features.mean()\n",
        "counts": f"class Counts(Regularizer):\n{init}self.rows = model.source_size"
        f"\n{end}source.features.mean() / self.rows\n",
    }.items():
        Path(f"{name}.py").write_text(start + text)
    together, apart = both(tmp_path, **options)
    for mine, theirs in zip(together, apart, strict=True):
        assert mine.weights_sha256 == theirs.weights_sha256
        assert "trained one after another, not together: " in told(mine)
        assert reason in told(mine)
        assert mine.notes == theirs.notes


def test_a_single_seed_is_a_single_run(tmp_path):
    (together,), (apart,) = both(tmp_path, seeds=(3,))
    assert together.weights_sha256 == apart.weights_sha256


def test_a_loss_that_is_not_finite_ends_all_and_keeps_what_was_good(tmp_path):
    with pytest.raises(
        RunError, match=r"seed 0: loss term 'NanAt' became nan at step 7 \(epoch 2\); epoch 1 is"
    ):
        ran(tmp_path / "run", reg={TOYS + "NanAt": {"step": 7}}, save_every=1000)
    for seed in SEEDS:
        last = tmp_path / "run" / f"seed-{seed}" / "checkpoints" / "last.pt"
        assert torch.load(last, weights_only=True)["epoch"] == 1


SOME_NAN = """
import torch
from datk.interfaces import Regularizer

class SomeNan(Regularizer):
    class Config(Regularizer.Config):
        above: float = 0.0

    def __init__(self, config, model):
        super().__init__(config, model)
        self.register_buffer("drawn", torch.rand(()))  # another number in each seed

    def forward(self, source, target, step):
        goes_wrong = (self.drawn > self.config.above) & (step.progress > 0.4)
        return torch.where(goes_wrong, torch.nan, 0.0) * source.features.mean()
"""


@pytest.mark.parametrize(("precision", "done"), [("float32", []), ("float16", [0])])
def test_the_seed_that_goes_wrong_is_named_and_the_others_can_go_on_without(precision, done, tmp_path):
    """Seed 1 draws the largest of the three numbers; float16 is for one seed after another."""
    Path("some.py").write_text(SOME_NAN)
    options = {"reg": {"./some.py:SomeNan": {"above": 0.52}}, "precision": precision}

    def finished():
        return [seed for seed in SEEDS if (tmp_path / "run" / f"seed-{seed}" / "result.json").exists()]

    with pytest.raises(RunError, match="seed 1: loss term 'SomeNan' became nan"):
        ran(tmp_path / "run", **options)
    assert finished() == done
    results = ran(tmp_path / "run", seeds=(0, 5), resume=True, **options)
    assert finished() == [0, 5]
    assert [result.epochs for result in results] == [EPOCHS, EPOCHS]


# --- resuming ------------------------------------------------------------------------------------------


def cli(out, *more):
    words = ["run", "--pair", TOYS + "Toy", "--align", "dann", "--reg", "fisher", "--epochs", "4"]
    words += ["--seed", "0-2", "--device", "cpu", "--out", str(out), "--quiet"]
    for key, value in {
        "pair.shape": "[3,16,16]",
        "align.dann.hidden": "[6]",
        "train.batch_size": 16,
        "train.eps": 1e-3,
        "train.log_every": 1,
        "train.save_every": 0,
        "train.together": "true",
    }.items():
        words += ["--set", f"{key}={value}"]
    return [*words, *more]


@pytest.mark.slow
@pytest.mark.parametrize(
    "kill", [("after last.pt", 2), ("after last.pt", 3), ("half last.pt", 5), ("after result.json", 1)]
)
def test_a_killed_run_goes_on_as_if_nothing_had_been(kill, doomed, tmp_path):
    """Also where the last checkpoints are of different epochs, and where one of the seeds is complete."""
    assert doomed({"cli": cli(tmp_path / "whole")}) == 0
    assert doomed({"cli": cli(tmp_path / "run"), "kill": kill}) == signal.SIGKILL
    assert doomed({"cli": cli(tmp_path / "run", "--resume")}) == 0
    results = [
        [datk.read_result(tmp_path / name / f"seed-{seed}") for seed in range(3)] for name in ("run", "whole")
    ]
    check_same(*results)


# --- data ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("train", [{}, {"augment": "rotate-zoom"}, {"balance": 7}])
@pytest.mark.parametrize("with_target", [True, False])
@pytest.mark.parametrize("memory_gb", [None, 1e-9])
def test_batches_side_by_side_are_those_of_each_seed(train, with_target, memory_gb):
    chosen = configured(**train)
    pair = chosen.pair.cls(chosen.pair.config)
    if memory_gb is not None:
        for samples in (pair.source, pair.target):
            object.__setattr__(samples, "in_memory", False)
    data = chosen.config.data.model_copy(update={"memory_gb": memory_gb})
    members = [prepare(pair, data, chosen.config.train, seed, CPU).training for seed in SEEDS]
    for epoch in range(2):
        alone = [list(member.batches(epoch, with_target)) for member in members]
        side_by_side = list(StackedData(members).batches(epoch, with_target))
        assert len(side_by_side) == members[0].steps
        for step, batches in enumerate(side_by_side):
            for k in range(len(SEEDS)):
                for mine, theirs in zip(batches, alone[k][step], strict=True):
                    for name in type(mine).__dataclass_fields__:
                        assert torch.equal(getattr(mine, name)[k], getattr(theirs, name))


def test_data_of_other_lengths_are_refused():
    pair = configured().pair.cls(configured().pair.config)
    members = [
        prepare(pair, configured().config.data, configured(batch_size=size).config.train, 0, CPU).training
        for size in (8, 9)
    ]
    with pytest.raises(CannotStackError, match=r"their splits make 8 and 9 source rows in a batch"):
        StackedData(members)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("graphs", [False, True])
@pytest.mark.parametrize("method", ["mmd", "dann", "dropout everywhere"])
def test_each_seed_finds_what_its_single_run_finds_on_a_gpu(method, graphs, tmp_path):
    options = {**METHODS[method], "graphs": graphs}
    results = []
    for together in (True, False):
        chosen = configured(together=together, **options)
        chosen = type(chosen)(
            **{**vars(chosen), "config": chosen.config.model_copy(update={"device": "cuda"})}
        )
        results.append(execute_seeds(chosen, SEEDS, tmp_path / str(together)))
    check_same(*results, tolerance=1e-2)
