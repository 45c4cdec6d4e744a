"""Runs whose time is limited: how many epochs they train, and what becomes of them when they are resumed."""

import time

import pytest

from datk.base.errors import ConfigError
from datk.config.models import TrainConfig
from datk.runs.result import read_result
from datk.training.budget import Budget
from datk.training.report import Reporter
from tests.build import interrupted, run, trainer
from tests.curves import lines
from tests.toys import TOYS


def planned(budget, times):
    """Let epochs of these times go by; how many were planned after each."""
    spent, plans = 0.0, []
    for epoch, seconds in enumerate(times, 1):
        spent += seconds
        budget.plan(epoch, spent)
        plans.append(budget.epochs)
    return plans


# --- the number of epochs ------------------------------------------------------------------------------


def test_as_many_epochs_as_there_is_time_for():
    assert planned(Budget(100.0, 1000), [1.0] * 10)[-1] == 97


def test_the_first_epoch_does_not_tell_how_long_the_others_take():
    plans = planned(Budget(100.0, 1000), [5.0, *[0.5] * 20])
    assert plans[0] == 1 + 92 // 5
    assert plans[-1] == 11 + int((97 - 10) / 0.5)  # settled after 5 + 10 x 0.5 seconds


def test_no_more_epochs_than_were_asked_for():
    budget = Budget(100.0, 20)
    assert planned(budget, [1.0] * 20) == [20] * 20
    assert not budget.is_spent(99.0)


def test_the_number_stays_once_it_is_settled():
    budget = Budget(100.0, 1000)
    early = planned(budget, [1.0] * 10)[-1]
    assert budget.settled
    assert not budget.plan(11, 99.0)
    assert budget.epochs == early


def test_without_a_budget_nothing_is_planned():
    budget = Budget(None, 7)
    assert planned(budget, [1e9] * 3) == [7] * 3
    assert not budget.is_spent(1e12)


def test_one_epoch_is_trained_however_short_the_time_is():
    assert planned(Budget(1.0, 50), [3.0]) == [1]


# --- runs ----------------------------------------------------------------------------------------------


class Clock:
    """Says that an epoch takes 10 seconds, the first one 20."""

    def __init__(self):
        self.now, self.asked = 0.0, 0

    def __call__(self):
        self.asked += 1
        if self.asked % 2 == 0:  # at the end of an epoch
            self.now += 20.0 if self.asked == 2 else 10.0
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(time, "perf_counter", clock)
    return clock


class Plans(Reporter):
    def __init__(self):
        self.told = []

    def planned(self, epochs, steps):
        self.told.append((epochs, steps))


def test_a_run_ends_in_time_with_its_schedule_at_the_end(tmp_path, clock):
    plans = Plans()
    training = trainer(tmp_path / "run", epochs=200, time_budget=100, reporters=[plans], schedule="cosine")
    rates = []

    def noted(step, original=training.optimization.go_to):
        original(step)
        rates.append(training.optimization.optimizer.param_groups[0]["lr"])

    training.optimization.go_to = noted
    fit = training.fit()
    assert fit.epochs == 8  # 20 + 7 x 10 seconds, of the 97 that are used
    assert fit.seconds == 90
    assert plans.told[-1] == (8, 8 * training.steps_per_epoch)
    assert rates[-1] < 0.02 * training.config.lr
    assert rates[0] > 0.9 * training.config.lr


def test_a_run_that_slows_down_ends_after_the_epoch_that_reaches_the_limit(tmp_path, clock, monkeypatch):
    training = trainer(tmp_path / "run", epochs=200, time_budget=100)

    def slow(record):
        if record["epoch"] == 4:
            clock.now += 1000  # counted in the epoch that follows, as it is asked at its end
            training.seconds += 1000

    training.on_epoch = slow
    assert training.fit().epochs == 4


def test_the_result_says_so_and_a_run_with_time_enough_does_not(tmp_path, clock):
    short = run(tmp_path / "short", epochs=200, time_budget="100s")
    (note,) = [note for note in short.notes if "time_budget" in note]
    assert note.startswith("there was time for 8 of 200 epochs (train.time_budget=100 seconds)")
    assert read_result(tmp_path / "short").epochs == 8
    assert [record["epoch"] for record in lines(tmp_path / "short", "epoch")] == list(range(1, 9))


def test_time_enough_changes_nothing(tmp_path):
    plain = run(tmp_path / "plain", epochs=3)
    limited = run(tmp_path / "limited", epochs=3, time_budget="1h")
    assert limited.weights_sha256 == plain.weights_sha256
    assert not [note for note in limited.notes if "time" in note]


@pytest.mark.parametrize("epoch", [1, 2, 5])
def test_a_resumed_run_keeps_the_number_of_epochs(tmp_path, monkeypatch, epoch):
    options = {"epochs": 200, "time_budget": 100, "schedule": "cosine", "align": {"mmd": {"ramp": "linear"}}}
    monkeypatch.setattr(time, "perf_counter", Clock())
    whole = run(tmp_path / "whole", save_every=0, **options)
    monkeypatch.setattr(time, "perf_counter", Clock())
    with pytest.raises(KeyboardInterrupt):
        interrupted(tmp_path / "two", epoch, **options)
    second = Clock()
    second.asked = 2  # its first epoch is none that warms up
    monkeypatch.setattr(time, "perf_counter", second)
    again = run(tmp_path / "two", save_every=0, resume=True, **options)
    assert (again.epochs, again.seconds) == (whole.epochs, whole.seconds) == (8, 90)
    assert again.weights_sha256 == whole.weights_sha256


# --- the option ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("2h", 7200), ("1.5h", 5400), (45, 45), (" 7 ", 7)]
)
def test_times(text, seconds):
    assert TrainConfig(time_budget=text).time_budget == seconds


@pytest.mark.parametrize("text", ["soon", "-5m", "0", "5d", True, "1h30m", [3]])
def test_what_is_no_time_is_refused(tmp_path, text):
    with pytest.raises(ConfigError, match=r"train\.time_budget"):
        run(tmp_path / "run", time_budget=text)


def test_the_flag(tmp_path, datk):
    done = datk(
        *("run", "--pair", TOYS + "Toy", "--backbone", "mlp", "--align", "none", "--epochs", 2),
        *("--time-budget", "10m", "--out", tmp_path / "run"),
    )
    assert done.code == 0
    assert '"time_budget": 600.0' in (tmp_path / "run" / "config.json").read_text()
    assert datk("run", "--time-budget", "soon").code == 2
