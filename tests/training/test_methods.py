"""What a method may do beside giving a value, in whole runs: log, pass rows, make networks, look at rows."""

import pytest
import torch

import datk
from datk.base.errors import ConfigError
from datk.config import plugins
from tests.build import run, run_in_two, trainer
from tests.curves import lines, same, weights
from tests.toy_methods import METHODS


def toy(kind, name):
    return plugins.load(plugins.resolve(kind, METHODS + name))


@pytest.fixture
def remembered(monkeypatch):
    """Empties the memory of a toy for this test, and gives it."""

    def empty(kind, name, attribute):
        monkeypatch.setattr(toy(kind, name), attribute, [])
        return getattr(toy(kind, name), attribute)

    return empty


# --- epochs and what is logged -------------------------------------------------------------------------


def test_a_term_knows_how_many_epochs_are_done(tmp_path):
    run(tmp_path / "run", reg=[METHODS + "WarmUp"], epochs=4, log_every=1)
    steps = lines(tmp_path / "run", "step")
    assert [record["logged"]["WarmUp.epoch"] for record in steps] == [0, 0, 1, 1, 2, 2, 3, 3]
    values = [record["terms"]["WarmUp"] for record in steps]
    assert values[:4] == [0, 0, 0, 0]
    assert all(value > 0 for value in values[4:])


def test_a_warm_up_goes_on_where_it_was(tmp_path):
    whole = run(tmp_path / "whole", reg=[METHODS + "WarmUp"], epochs=4)
    resumed = run_in_two(tmp_path / "run", 2, reg=[METHODS + "WarmUp"], epochs=4)
    assert resumed.weights_sha256 == whole.weights_sha256
    records = [lines(tmp_path / name, "step") for name in ("run", "whole")]
    assert records[0] == records[1]


def test_what_is_only_logged_is_logged_and_no_part_of_the_loss(tmp_path):
    run(tmp_path / "run", "mmd", [METHODS + "Logging"], log_every=1)
    steps = lines(tmp_path / "run", "step")
    for record, defined in zip(steps, [False, False, True, True], strict=True):
        assert set(record["terms"]) == {"classification", "mmd", "Logging"}
        assert set(record["logged"]) == {"Logging.often", "Logging.mean"}
        assert record["logged"]["Logging.often"] == (1.0 if defined else None)
        assert record["logged"]["Logging.mean"] > 0
        assert record["loss"] == pytest.approx(sum(record["terms"].values()))
    raw = (tmp_path / "run" / "metrics.jsonl").read_text()
    assert "NaN" not in raw
    run(tmp_path / "silent", "mmd")
    assert not any("logged" in record for record in lines(tmp_path / "silent", "step"))


# --- whose rows pass -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("align", "shapes"),
    [
        ("none", {(16, 6)}),
        (METHODS + "Critic", {(32, 6)}),
        (METHODS + "SourceFree", {(16, 6)}),
        (METHODS + "InTurn", {(16, 6)}),
    ],
)
def test_the_network_sees_the_rows_that_pass_and_no_others(align, shapes, tmp_path, remembered):
    """28 rows of the source and 56 of the target: the epoch is counted by the source if it passes."""
    seen = remembered("backbone", "Counting", "shapes")
    training = trainer(
        tmp_path / "run", align, backbone=METHODS + "Counting", pair={"target_rows": 80}, epochs=2
    )
    assert (training.data.source_size, training.data.target_size) == (28, 56)
    training.fit()
    assert set(seen) == shapes
    steps, passes = (4, 1) if align.endswith("SourceFree") else (2, 2 if align.endswith("InTurn") else 1)
    assert training.steps_per_epoch == steps
    assert len(seen) == 2 * steps * passes
    assert float(training.objective.backbone.passes) == 2 * steps * passes
    assert [record["step"] for record in lines(tmp_path / "run", "epoch")] == [steps, 2 * steps]


def test_a_method_of_the_target_alone_reads_no_source_row_for_training(tmp_path):
    training = trainer(tmp_path / "run", METHODS + "SourceFree", epochs=2)
    read, batches = [], training.data.source.rows.batches
    training.data.source.rows.batches = lambda plan: (
        read.append(set(plan.flatten().tolist())) or batches(plan)
    )
    training.fit()
    validation = set(training.data.source.split.validation.tolist())
    assert read == [validation] * 3  # for the selector after each epoch, and with the look at the target


def test_its_statistics_and_weights_do_not_depend_on_the_source(tmp_path):
    results = [
        run(
            tmp_path / str(seed),
            METHODS + "SourceFree",
            backbone=METHODS + "Counting",
            select="last",
            pair={"data_seed": seed},
            data={"standardize": "per-domain"},
        )
        for seed in (0, 7)
    ]
    assert results[0].data_sha256 != results[1].data_sha256
    assert same(*(weights(tmp_path / str(seed)) for seed in (0, 7)))


def test_an_epoch_of_a_method_of_the_target_alone_goes_over_the_target_once(tmp_path, remembered):
    training = trainer(
        tmp_path / "run", METHODS + "SourceFree", pair={"target_rows": 80}, epochs=2, batch_size=14
    )
    for epoch in range(2):
        batches = list(training.data.batches(epoch, training.objective.passes))
        index = torch.cat([target.index for _, target in batches])
        assert index.sort().values.tolist() == list(range(56))


def test_the_learning_rate_follows_the_steps_that_are_done(tmp_path):
    training = trainer(tmp_path / "run", METHODS + "SourceFree", pair={"target_rows": 80}, epochs=2)
    rates, step = [], training.optimization.optimizer.step
    group = training.optimization.optimizer.param_groups[0]
    training.optimization.optimizer.step = lambda: (rates.append(group["lr"]), step())
    training.fit()
    assert len(rates) == 8
    assert max(rates) > 0.9 * training.config.lr
    assert rates[-1] < 0.1 * training.config.lr


# --- weights of other runs -----------------------------------------------------------------------------


def test_a_method_that_needs_weights_says_so_before_anything_is_read(tmp_path, monkeypatch):
    from datk.runs import run as runs

    def forbidden(*_, **__):
        raise AssertionError("the data were read")

    monkeypatch.setattr(runs, "prepare", forbidden)
    missing = {
        "name": "arrays",
        "source_x": "nowhere.npy",
        "source_y": "nowhere.npy",
        "target_x": "nowhere.npy",
    }
    for align in (METHODS + "Starting", "shot"):
        label = align.rpartition(":")[2]
        with pytest.raises(ConfigError, match=rf"^{label} starts from .* another run: name it by --init"):
            datk.run(pair=missing, backbone="mlp", align=align, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_with_weights_of_another_run_it_starts(tmp_path):
    run(tmp_path / "first")
    result = run(
        tmp_path / "run", METHODS + "Starting", epochs=1, init=tmp_path / "first", lr=1e-30, weight_decay=0
    )
    assert result.selected_epoch == 1
    found, expected = weights(tmp_path / "run"), weights(tmp_path / "first")
    assert all(torch.allclose(found[name], expected[name], rtol=0, atol=1e-20) for name in expected)


# --- setup ---------------------------------------------------------------------------------------------


def test_what_setup_makes_is_in_the_optimiser_trained_and_saved(tmp_path, remembered):
    called = remembered("alignment", "SecondHead", "called")
    training = trainer(tmp_path / "run", METHODS + "SecondHead", epochs=2)
    assert called == [([False, False], "cpu")]
    second = training.objective.loss_terms["SecondHead"].second
    first = {name: p.detach().clone() for name, p in second.named_parameters()}
    for name, parameter in training.objective.backbone.head.named_parameters():
        assert torch.equal(first[name], parameter)
    optimised = {id(p) for group in training.optimization.optimizer.param_groups for p in group["params"]}
    assert {id(p) for p in second.parameters()} <= optimised
    training.fit()
    saved = training.files.load_selected()
    for name, value in first.items():
        assert not torch.equal(saved[f"objective.terms.SecondHead.second.{name}"], value)


def test_what_setup_makes_goes_on_where_it_was(tmp_path):
    align = METHODS + "SecondHead"
    whole = run(tmp_path / "whole", align, epochs=4)
    assert run_in_two(tmp_path / "run", 3, align, epochs=4).weights_sha256 == whole.weights_sha256


def test_setup_copies_the_weights_that_the_run_starts_from(tmp_path, remembered):
    run(tmp_path / "first", epochs=1)
    run(tmp_path / "run", METHODS + "SecondHead", epochs=1, init=tmp_path / "first", lr=1e-30, weight_decay=0)
    expected = weights(tmp_path / "first", "objective.backbone.head.")
    found = weights(tmp_path / "run", "objective.terms.SecondHead.second.")
    assert len(found) == len(expected) == 2
    for (_, mine), (_, theirs) in zip(sorted(found.items()), sorted(expected.items()), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-20)


def test_what_terms_own_keeps_its_mode(tmp_path, remembered):
    seen = remembered("regularizer", "Modes", "seen")
    training = trainer(tmp_path / "run", reg=[METHODS + "Modes"], epochs=2)
    training.fit()
    assert seen == [("epoch", False, False, True), *[("step", True, False, True)] * 2] * 2
    assert training.objective.backbone.training


# --- rows before an epoch ------------------------------------------------------------------------------


def test_rows_before_an_epoch_are_those_of_both_domains_by_their_index(tmp_path, remembered):
    seen = remembered("alignment", "Reading", "seen")
    training = trainer(
        tmp_path / "run", METHODS + "Reading", pair={"source_rows": 600, "target_rows": 500}, epochs=2
    )
    training.fit()
    assert len(seen) == 2
    data = training.data
    for first, again in seen:
        for batches, repeated, domain, count in zip(
            first, again, (data.source, data.target), (420, 350), strict=True
        ):
            assert len(batches) == 2
            assert torch.equal(torch.cat([batch.index for batch in batches]), torch.arange(count))
            expected = torch.cat([x for x, _ in domain.in_order(domain.split.train)])
            assert torch.equal(torch.cat([batch.x for batch in batches]), expected)
            assert all(torch.equal(a.x, b.x) for a, b in zip(batches, repeated, strict=True))
        assert torch.equal(torch.cat([batch.y for batch in first[0]]), data.labels)


def test_rows_that_no_term_asks_for_are_not_read(tmp_path):
    """A source-only run with a term that could read them."""
    training = trainer(tmp_path / "run", "none", ["fisher"], epochs=1)

    def forbidden(plan):
        raise AssertionError("the target was read")

    training.data.target.rows.batches = forbidden
    training.fit()


# --- weight 0 ------------------------------------------------------------------------------------------


def test_with_weight_0_a_critic_learns_and_the_backbone_is_as_without(tmp_path):
    """The comparison passes the target, too, and has no gradient."""
    run(tmp_path / "without", METHODS + "Reading")
    silent = trainer(tmp_path / "silent", {METHODS + "Critic": {"weight": 0.0}}, epochs=2)
    before = {name: p.detach().clone() for name, p in silent.objective.terms.named_parameters()}
    silent.fit()
    saved = silent.files.load_selected()
    assert before
    for name, value in before.items():
        assert not torch.equal(saved[f"objective.terms.{name}"], value)
    assert same(weights(tmp_path / "silent"), weights(tmp_path / "without"))
    trainer(tmp_path / "loud", METHODS + "Critic", epochs=2).fit()
    assert not same(weights(tmp_path / "loud"), weights(tmp_path / "without"))
