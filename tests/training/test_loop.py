"""The training loop: who is updated when, what is called, what happens to numbers that are not finite."""

import contextlib
import json
import threading

import numpy as np
import pytest
import torch

import datk
from datk.base.errors import PluginError, RunError
from datk.base.rng import reproducible
from datk.config import plugins
from datk.interfaces import PairInfo
from datk.runs import run as runs
from datk.training.checkpoints import Checkpoints
from datk.training.report import Reporter
from datk.training.schedules import schedule
from tests import build
from tests.build import run, trainer
from tests.curves import lines
from tests.toys import TOYS


def toy(name):
    return plugins.load(plugins.resolve("alignment", TOYS + name))


# --- phases and parameters -----------------------------------------------------------------------------


def test_each_phase_updates_its_own_parameters_only(tmp_path):
    """Parameters are compared around every step of the optimiser."""
    training = trainer(tmp_path / "run", TOYS + "Discrepancy", ["fisher"], epochs=1, weight_decay=0.1)
    owner = {}
    for kind, group in training.objective.groups():
        owner |= {id(parameter): kind for parameter in group.params}
    owner |= {id(parameter): "fisher" for parameter in training.objective.loss_terms["fisher"].parameters()}
    changed = []
    step = training.optimization.optimizer.step

    def watched():
        before = {id(p): p.detach().clone() for p in training.objective.parameters()}
        step()
        after = {id(p): p for p in training.objective.parameters()}
        changed.append({owner[key] for key in before if not torch.equal(before[key], after[key])})

    training.optimization.optimizer.step = watched
    training.fit()
    once = [{"trunk", "head", "terms", "fisher"}, {"head", "terms"}, {"trunk"}, {"trunk"}]
    assert changed == once * training.steps_per_epoch


def test_each_phase_has_its_own_log_lines(tmp_path):
    run(tmp_path / "run", TOYS + "Discrepancy", ["entropy"], epochs=1, log_every=100)
    records = lines(tmp_path / "run", "step")
    assert {record["phase"]: set(record["terms"]) for record in records} == {
        "all": {"classification", "Discrepancy", "entropy"},
        "heads": {"classification", "Discrepancy"},
        "trunk": {"Discrepancy"},
    }
    for record in records:
        assert record["loss"] == pytest.approx(sum(record["terms"].values()))


def test_a_phase_that_updates_nothing_is_refused(tmp_path):
    with pytest.raises(PluginError, match=r"phase 'terms' updates terms: no parameters"):
        run(tmp_path / "run", TOYS + "EmptyPhase")


def test_a_parameter_that_the_loss_does_not_use_stays_as_it_is(tmp_path):
    training = trainer(tmp_path / "run", reg=[TOYS + "Lazy"], epochs=2, weight_decay=0.1)
    training.fit()
    assert torch.equal(training.objective.loss_terms["Lazy"].unused, torch.ones(3))


def test_parameters_of_terms_are_optimised_and_saved(tmp_path):
    training = trainer(tmp_path / "run", "dann", ["fisher"], epochs=2)
    before = {name: p.detach().clone() for name, p in training.objective.terms.named_parameters()}
    training.fit()
    saved = training.files.load_selected()
    assert "standardizers.source.mean" in saved
    for name, value in before.items():
        assert not torch.equal(saved[f"objective.terms.{name}"], value)


def test_multipliers_reach_the_optimiser(tmp_path):
    reg = {"fisher": {"centre_lr_mult": 10.0}}
    training = trainer(tmp_path / "run", TOYS + "Discrepancy", reg, epochs=3, lr=0.01, weight_decay=0.2)
    seen = []
    step = training.optimization.optimizer.step
    training.optimization.optimizer.step = lambda: (
        seen.append([g["lr"] for g in training.optimization.optimizer.param_groups]),
        step(),
    )
    training.fit()
    factor = schedule(training.config, training.steps_per_epoch)
    steps = 3 * training.steps_per_epoch
    expected = [[0.01 * factor(k) * m for m in (1.0, 1.0, 3.0, 10.0)] for k in range(steps) for _ in range(4)]
    np.testing.assert_allclose(seen, expected)
    assert [group["weight_decay"] for group in training.optimization.optimizer.param_groups] == [
        0.2,
        0.2,
        0.0,
        0.2,
    ]


def test_one_step_is_that_of_plain_adam(tmp_path):
    """The whole machinery, for one epoch of one batch, against five plain lines."""
    training = trainer(tmp_path / "run", "mmd", ["entropy"], epochs=1, batch_size=512, lr=0.01)
    reference = build.objective(
        build.experiment(align="mmd", reg=["entropy"]), PairInfo((6,), ("a", "b")), 1, 1
    )
    ((source, target),) = training.data.batches(0)
    optimizer = torch.optim.Adam(
        reference.parameters(), lr=0.01 / 25, betas=(0.7, 0.8), eps=1e-8, weight_decay=1e-4, amsgrad=True
    )
    terms, _ = reference(source, target, torch.zeros(()), torch.zeros(()), reference.phases[0])
    sum(terms.values()).backward()
    optimizer.step()
    training.fit()
    for mine, theirs in zip(training.objective.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs)


# --- what is called ------------------------------------------------------------------------------------


def test_terms_are_called_in_order(tmp_path):
    recorder = toy("Recorder")
    recorder.calls.clear()
    training = trainer(tmp_path / "run", TOYS + "Recorder", epochs=2)
    steps = training.steps_per_epoch
    training.fit()
    calls = recorder.calls
    assert calls[0] == ("setup", False, False)
    epoch = [("epoch", training.data.source_size, training.data.target_size, False, False)]
    for number in range(2):
        for step in range(number * steps, (number + 1) * steps):
            progress = round(step / (2 * steps), 6)
            epoch += [("forward", 16, 16, progress), ("after", True, False)]
        start = 1 + number * (1 + 2 * steps)
        assert calls[start : start + 1 + 2 * steps] == epoch
        epoch = epoch[:1]
    assert len(calls) == 1 + 2 * (1 + 2 * steps)


def test_what_setup_makes_is_trained_with_and_saved(tmp_path):
    training = trainer(tmp_path / "run", reg=[TOYS + "Teacher"], epochs=2)
    first = {name: p.detach().clone() for name, p in training.objective.backbone.named_parameters()}
    training.fit()
    saved = training.files.load_selected()
    for name, value in first.items():
        teacher = saved[f"objective.terms.Teacher.teacher.{name}"]
        assert not torch.equal(teacher, value)
        assert (teacher - value).abs().max() < (saved[f"objective.backbone.{name}"] - value).abs().max()


def test_a_source_only_network_never_sees_the_target(tmp_path):
    """Its weights and its batch normalisation are the same whatever the target holds."""
    results, states = [], []
    for number, change in enumerate([{}, {"target_seed": 7, "shift": 50.0}, {"target_rows": 200}]):
        pair = {"shape": (2, 16, 16), **change}
        results.append(run(tmp_path / f"run{number}", backbone="deepmerge", reg=["fisher"], pair=pair))
        states.append(Checkpoints(tmp_path / f"run{number}").load_selected())
    ours = [name for name in states[0] if not name.startswith("standardizers.target")]
    assert any("running_mean" in name for name in ours)
    for state in states[1:]:
        assert all(torch.equal(states[0][name], state[name]) for name in ours)
    assert len({json.dumps(result.metrics["source"]) for result in results}) == 1
    aligned = run(tmp_path / "aligned", "mmd", backbone="deepmerge", pair={"shape": (2, 16, 16)})
    assert aligned.weights_sha256 != results[0].weights_sha256


def test_a_source_only_run_does_not_read_the_target_for_training(tmp_path):
    training = trainer(tmp_path / "run", epochs=1)

    def forbidden(plan):
        raise AssertionError("the target was read")

    training.data.target.rows.batches = forbidden
    training.fit()


# --- log -----------------------------------------------------------------------------------------------


def test_log_lines_hold_the_means_since_the_last_one(tmp_path):
    every = [
        record["terms"]
        for record in (run(tmp_path / "run", "mmd", log_every=1), lines(tmp_path / "run", "step"))[1]
    ]
    run(tmp_path / "three", "mmd", log_every=3)
    three = lines(tmp_path / "three", "step")
    assert [record["step"] for record in three] == [2, 3, 4]
    expected = [every[:2], every[2:3], every[3:]]
    for record, steps in zip(three, expected, strict=True):
        assert record["phase"] == "train"
        for name in ("classification", "mmd"):
            assert record["terms"][name] == pytest.approx(np.mean([step[name] for step in steps]))
        assert record["loss"] == pytest.approx(sum(record["terms"].values()))


def test_an_epoch_has_one_line(tmp_path):
    result = run(tmp_path / "run", epochs=3)
    records = lines(tmp_path / "run", "epoch")
    assert [record["epoch"] for record in records] == [1, 2, 3]
    assert [record["step"] for record in records] == [2, 4, 6]
    best = min(records, key=lambda record: record["validation_loss"])
    assert best["epoch"] == result.selected_epoch
    assert [r["epoch"] for r in records if r["selected"]][-1] == best["epoch"]
    assert records[-1]["seconds"] == pytest.approx(result.seconds, abs=1e-3)
    validation = result.metrics["source"]["validation"]
    assert best["validation_accuracy"] == validation["accuracy"]


def test_log_txt_tells_the_run(tmp_path):
    run(tmp_path / "run", "mmd", ["fisher"], pair={"labelled": False})
    told = [line.split(" ", 1)[1] for line in (tmp_path / "run" / "log.txt").read_text().splitlines()]
    assert told[:2] == ["Toy: mlp with mmd + fisher, seed 0: 2 epochs, 4 steps", "toy data"]
    alarms = [line for line in told if line.startswith("ALARM ")]
    assert alarms[0].startswith("ALARM few-rows: ")  # of 40 source rows
    epochs = [line for line in told if line.startswith("epoch ")]
    assert all(f"epoch   {k}  validation loss " in epochs[k - 1] for k in (1, 2))
    assert "|  classification " in epochs[0]
    assert told.index(alarms[0]) < told.index(epochs[0])
    assert "the target has no labels: nothing on the target could be scored" in told[told.index(epochs[1]) :]


def test_reporters_are_told_of_every_step(tmp_path):
    class Steps(Reporter):
        def __init__(self):
            self.seen = []

        def advanced(self, step):
            self.seen.append(step)

    steps = Steps()
    trainer(tmp_path / "run", epochs=2, reporters=[steps]).fit()
    assert steps.seen == [1, 2, 3, 4]


# --- when it goes wrong --------------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_the_last_good_epoch(tmp_path):
    good = run(tmp_path / "good", reg={TOYS + "NanAt": {"step": 99}}, select="last", schedule="constant")
    with pytest.raises(
        RunError, match=r"'NanAt' became nan at step 5 \(epoch 3\); epoch 2 is kept in checkpoints"
    ):
        run(tmp_path / "run", reg={TOYS + "NanAt": {"step": 5}}, epochs=4, select="last", schedule="constant")
    kept, expected = (Checkpoints(tmp_path / name).load_selected() for name in ("run", "good"))
    assert all(torch.equal(kept[name], expected[name]) for name in expected)
    assert good.epochs == 2
    assert not (tmp_path / "run" / "result.json").exists()
    assert [record["epoch"] for record in lines(tmp_path / "run", "epoch")] == [1, 2]


@pytest.mark.parametrize(("seconds", "written"), [(0, [1, 2, 3]), (1000, [3])])
def test_checkpoints_are_written_as_often_as_asked(seconds, written, tmp_path, monkeypatch):
    epochs, save = [], Checkpoints.save_last
    monkeypatch.setattr(
        Checkpoints, "save_last", lambda self, state: epochs.append(state["epoch"]) or save(self, state)
    )
    run(tmp_path / "run", epochs=3, save_every=seconds)
    assert epochs == written


def test_a_loss_that_is_wrong_at_once(tmp_path):
    with pytest.raises(RunError, match=r"at step 1 \(epoch 1\); no epoch was completed"):
        run(tmp_path / "run", reg={TOYS + "NanAt": {"step": 1}})
    assert not (tmp_path / "run" / "checkpoints" / "selected.safetensors").exists()


@pytest.mark.parametrize("step", [2, 4])
def test_a_gradient_that_is_wrong_in_the_last_step_of_an_epoch(step, tmp_path):
    """Every term was finite, so that only the weights tell; whose gradient it was is found out."""
    kept = "no epoch was completed" if step == 2 else "epoch 1 is kept"
    blamed = rf"gradient of loss term 'NanGradient' is not finite at step {step} \(epoch {step // 2}\)"
    with pytest.raises(RunError, match=f"{blamed}, though its value is; {kept}"):
        run(tmp_path / "run", reg={TOYS + "NanGradient": {"step": step}}, epochs=3)
    assert len(lines(tmp_path / "run", "epoch")) == step // 2 - 1


@pytest.mark.parametrize("term", ["NanGradient", "NanGradientOfPhase"])
@pytest.mark.parametrize("step", [1, 3])
def test_a_gradient_that_is_wrong_is_its_own_terms_fault(step, term, tmp_path):
    """In the next step every term is NaN, classification first."""
    alone = {"align": {f"{TOYS}{term}": {"step": step}}} if term.endswith("Phase") else {}
    reg = {} if alone else {TOYS + term: {"step": step}}
    with pytest.raises(RunError, match=rf"gradient of loss term '{term}' is not finite at step {step} \("):
        run(tmp_path / "run", reg=reg, epochs=3, log_every=1, **alone)


def test_the_gradient_of_the_classification_is_blamed_where_it_is_wrong(tmp_path):
    with pytest.raises(RunError, match="gradient of loss term 'classification' is not finite at step 1"):
        run(tmp_path / "run", backbone=TOYS + "NanGradientOfNetwork")


def test_weights_that_grow_without_bound_are_nobodys_gradient(tmp_path):
    with pytest.raises(RunError, match=r"'classification' became \w+ at step \d+ .*lower train.lr"):
        run(tmp_path / "run", lr=1e30, epochs=3)


def test_a_run_that_fails_leaves_no_thread_and_no_setting(tmp_path):
    y = np.arange(60) % 2
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(60, 5)))
    np.save(tmp_path / "y.npy", y)
    pair = {"name": "arrays", "source_x": "x.npy", "source_y": "y.npy", "target_x": "x.npy"}
    threads, state = threading.active_count(), torch.get_rng_state()
    with contextlib.chdir(tmp_path), pytest.raises(RunError) as failure:
        datk.run(
            pair=pair,
            backbone="mlp",
            align="mmd",
            reg={TOYS + "NanAt": {"step": 2}},
            out="run",
            device="cpu",
            set={"data.memory_gb": 1e-9, "train.batch_size": 8, "train.log_every": 1},
        )
    assert "at step 2" in str(failure.value)
    assert threading.active_count() == threads
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.are_deterministic_algorithms_enabled()


def test_memory_that_runs_out_is_told(tmp_path, monkeypatch):
    def full(*_, **__):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(runs, "prepare", full)
    with pytest.raises(RunError, match=r"out of memory on cpu; lower train.batch_size or data.memory_gb"):
        run(tmp_path / "run")


# --- reproducibility -----------------------------------------------------------------------------------


def test_deterministic_kernels_are_used_only_within_a_run(tmp_path):
    seen = []

    class Watch(Reporter):
        def advanced(self, step):
            seen.append(torch.are_deterministic_algorithms_enabled())

    with reproducible(build.CPU, deterministic=True):
        trainer(tmp_path / "run", epochs=1, reporters=[Watch()]).fit()
    assert seen == [True, True]
    assert not torch.are_deterministic_algorithms_enabled()
