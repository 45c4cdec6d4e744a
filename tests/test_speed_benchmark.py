"""The speed benchmark measures what it says; how fast anything is, no test asks."""

import json

import pytest
import torch
from click.testing import CliRunner

from benchmarks.speed import naive
from benchmarks.speed.__main__ import ROWS, main
from benchmarks.speed.harness import Row, Setting, Spread, interleaved, ratio
from benchmarks.speed.subjects import METHODS, Run, Step, batches
from datk_discrepancy.mmd import mmd
from datk_regularizers.entropy import entropy
from datk_regularizers.fisher import trace_ratio

SETTING = Setting(torch.device("cpu"), repeats=2, full=False)


def test_the_naive_step_computes_the_same_loss():
    step = Step(METHODS["mmd + fisher,entropy"], SETTING, batch=8)
    source, target = step.batches
    plain = naive.NaiveStep(source.x, source.y, target.x)
    ours = step.optimization.objective
    theirs = [tensor for name, tensor in plain.network.state_dict().items()]
    with torch.no_grad():
        for mine, other in zip(ours.backbone.state_dict().values(), theirs, strict=True):
            other.copy_(mine)
        plain.centres.copy_(ours.loss_terms["fisher"].centres)
    assert plain() == pytest.approx(step().sum().item(), rel=1e-5)


def test_the_naive_terms_are_the_terms():
    generator = torch.Generator().manual_seed(0)
    source, target = torch.randn(2, 6, 20, generator=generator)
    labels, centres = torch.arange(6) % 2, torch.randn(2, 20, generator=generator)
    torch.testing.assert_close(naive.mmd(source, target), mmd(source, target), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(naive.fisher(source, labels, centres), trace_ratio(source, labels, centres))
    torch.testing.assert_close(naive.entropy(source), entropy(source), rtol=1e-3, atol=1e-4)


def test_cases_take_turns():
    order = []
    cases = {name: lambda name=name: order.append(name) for name in "abc"}
    times = interleaved(cases, SETTING, warm_up=1)
    assert {name: len(values) for name, values in times.items()} == {"a": 2, "b": 2, "c": 2}
    assert order == ["c", "a", "b", "a", "b", "c", "b", "c", "a"]


def test_cases_outside_keep_the_memory_of_other_programs():
    order = []
    cases = {name: lambda name=name: order.append(name) for name in ("datk", "other")}
    interleaved(cases, SETTING, warm_up=0, outside=["other"])
    assert order == ["datk", "datk", "other", "other", "datk", "datk"]


def test_a_ratio_is_that_of_each_repeat():
    assert ratio({"a": [1.0, 4.0, 9.0], "b": [1.0, 2.0, 3.0]}, "a", "b") == Spread(2.0, 1.0, 3.0)


@pytest.mark.parametrize(
    ("limits", "met"),
    [({}, None), ({"at_most": 2}, True), ({"at_most": 1.9}, False), ({"at_least": 2.1}, False)],
)
def test_a_row_says_whether_it_is_met(limits, met):
    assert Row("x", Spread(2.0, 1.0, 9.0), **limits).met is met
    assert Row("x", None, **limits).met is None


def test_an_epoch_and_its_bare_steps_are_as_many():
    run = Run(METHODS["mmd"], SETTING, rows=60, batch_size=16)
    calls = []
    losses = run.trainer.optimization.loss_terms
    run.trainer.optimization.loss_terms = lambda *inputs: calls.append(inputs) or losses(*inputs)
    run.epoch()
    epochs = len(calls)
    run.bare()
    assert epochs == run.trainer.steps_per_epoch > 1
    assert len(calls) == 2 * epochs


def test_batches_have_the_size_of_the_paper():
    source, target = batches(SETTING)
    assert source.x.shape == target.x.shape == (128, 3, 75, 75)


def test_rows_are_printed_and_recorded(tmp_path):
    out = tmp_path / "out.json"
    result = CliRunner().invoke(
        main, ["coral", "memory", "--repeats", "1", "--threads", "1", "--device", "cpu", "--json", str(out)]
    )
    assert result.exit_code == 0, result.output
    assert "coral term, 128 + 128 features of 2592, over the fastest peer" in result.output
    assert "needs a GPU" in result.output
    recorded = json.loads(out.read_text())
    assert set(recorded["rows"]) == {"coral", "memory"}
    assert recorded["rows"]["coral"][0]["seconds"]["datk"]["median"] > 0
    assert recorded["machine"]["versions"]["torch"] == torch.__version__.partition("+")[0]


def test_nothing_is_measured_unasked():
    assert "name rows, or ask for --all of them" in CliRunner().invoke(main, []).output
    assert CliRunner().invoke(main, ["corral"]).exit_code == 2
    assert len(set(ROWS)) == len(ROWS)
