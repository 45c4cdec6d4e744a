"""A run that is killed and resumed ends as one that never was: same weights, same lines, same numbers."""

import json
import signal

import pytest
import torch

import datk
from tests.toy_methods import METHODS
from tests.toys import TOYS

EPOCHS, STEPS = 4, 2

pytestmark = pytest.mark.slow

EVERYTHING = {
    "pair": {"name": TOYS + "Toy", "shape": [2, 16, 16]},
    "backbone": "deepmerge",
    "align": {
        "dann": {"hidden": [6], "dropout": 0.5, "weight": 0.5},
        TOYS + "Centroid": {"ramp": "linear"},
        METHODS + "SecondHead": {},
        METHODS + "Planning": {},
    },
    "reg": {
        "fisher": {},
        TOYS + "Teacher": {},
        METHODS + "Consistency": {},
        METHODS + "Averaged": {},
        METHODS + "Weighing": {},
    },
    "epochs": EPOCHS,
    "seed": 2,
    "set": {"train.batch_size": 16, "train.augment": "dihedral", "train.log_every": 1, "train.save_every": 0},
}
"""Dropout, parameters and buffers of losses, draws of their own, copies made in setup, one of which predicts,
other passes through the network, planned batches, weighed rows, augmented images; with this seed every epoch
is the best so far."""

PATIENT = {
    "pair": {"name": TOYS + "Toy", "groups": "shared"},
    "backbone": {"name": "mlp", "dropout": 0.2},
    "align": TOYS + "Discrepancy",
    "reg": ["entropy"],
    "epochs": 30,
    "set": {
        "train.batch_size": 16,
        "train.patience": 3,
        "train.save_every": 0,
        "train.lr": 0.05,
        "train.schedule": "constant",
        "train.select": "source-validation-accuracy",
    },
}
"""Phases, a schedule without end, and early stopping."""


@pytest.fixture(scope="module")
def run(doomed):
    """Run to the end, or until it is killed; the signal."""

    def run(arguments, out, kill=None, resume=False):
        run = {**arguments, "out": str(out), "resume": resume, "device": "cpu"}
        return doomed({"run": run, "kill": kill})

    return run


@pytest.fixture(scope="module")
def whole(run, tmp_path_factory):
    """Both runs, never interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    for name, arguments in (("everything", EVERYTHING), ("patient", PATIENT)):
        assert run(arguments, folder / name) == 0
    return folder


def untimed(record):
    return {key: value for key, value in record.items() if not key.startswith("seconds")}


def check_same(folder, whole):
    """All but the times and the note of the interruption."""
    found, expected = datk.read_result(folder), datk.read_result(whole)
    assert found.weights_sha256 == expected.weights_sha256
    assert untimed(found.model_dump()) == untimed(expected.model_dump())
    found, expected = ((path / "metrics.jsonl").read_text().splitlines() for path in (folder, whole))
    assert [untimed(json.loads(line)) for line in found] == [untimed(json.loads(line)) for line in expected]
    found, expected = (
        torch.load(path / "checkpoints" / "last.pt", weights_only=True) for path in (folder, whole)
    )
    assert found["selection"] == expected["selection"]
    assert_equal(found["model"], expected["model"])
    assert_equal(found["optimizer"], expected["optimizer"])
    files = {str(path.relative_to(folder)) for path in folder.rglob("*")}
    assert files == {str(path.relative_to(whole)) for path in whole.rglob("*")}


def assert_equal(found, expected):
    """Nested states, bit for bit."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key in expected:
            assert_equal(found[key], expected[key])
    elif isinstance(expected, torch.Tensor):
        assert torch.equal(found, expected)
    else:
        assert found == expected


@pytest.mark.parametrize(
    "kill",
    [
        ("before config.json", 1),
        ("half config.json", 1),
        ("after config.json", 1),
        ("half splits.npz", 1),
        ("setup", 0),
        ("step", 1),
        ("step", STEPS),
        ("step", 2 * STEPS + 1),
        ("step", EPOCHS * STEPS),
        ("epoch", 1),
        ("epoch", EPOCHS),
        ("half selected.safetensors", 2),
        ("after selected.safetensors", 1),
        ("after selected.safetensors", 2),
        ("half last.pt", 1),
        ("half last.pt", 3),
        ("before last.pt", 2),
        ("after last.pt", 2),
        ("half result.json", 1),
    ],
    ids=lambda kill: " ".join(map(str, kill)),
)
def test_a_killed_run_goes_on_as_if_nothing_had_been(kill, run, whole, tmp_path):
    assert run(EVERYTHING, tmp_path / "run", kill) == signal.SIGKILL
    assert not (tmp_path / "run" / "result.json").exists()
    assert run(EVERYTHING, tmp_path / "run", resume=True) == 0
    check_same(tmp_path / "run", whole / "everything")


def test_a_run_that_is_killed_again_and_again(run, whole, tmp_path):
    kills = [("step", 1), ("half last.pt", 1), ("step", 3), ("epoch", 2), ("before last.pt", 1), ("step", 7)]
    for kill in kills:
        assert run(EVERYTHING, tmp_path / "run", kill, resume=True) == signal.SIGKILL
    assert run(EVERYTHING, tmp_path / "run", resume=True) == 0
    check_same(tmp_path / "run", whole / "everything")


@pytest.mark.parametrize("kill", [("step", 2 * STEPS + 1), ("epoch", EPOCHS), ("after last.pt", 1)])
def test_a_run_too_short_for_checkpoints_on_the_way(kill, run, whole, tmp_path):
    """It has one at its end, and starts anew if it does not come so far."""
    rare = {**EVERYTHING, "set": {**EVERYTHING["set"], "train.save_every": 1000}}
    assert run(rare, tmp_path / "run", kill) == signal.SIGKILL
    assert (tmp_path / "run" / "checkpoints" / "last.pt").exists() == (kill[0] == "after last.pt")
    assert run(rare, tmp_path / "run", resume=True) == 0
    check_same(tmp_path / "run", whole / "everything")


def test_patience_goes_on_counting(run, whole, tmp_path):
    stopped = datk.read_result(whole / "patient")
    assert stopped.epochs == stopped.selected_epoch + 3
    assert stopped.epochs < 30
    for epoch in range(1, stopped.epochs + 1):
        assert run(PATIENT, tmp_path / "run", ("epoch", epoch), resume=True) == signal.SIGKILL
    assert run(PATIENT, tmp_path / "run", resume=True) == 0
    check_same(tmp_path / "run", whole / "patient")


def test_a_complete_run_is_left_as_it_is(run, whole):
    before = {path: path.read_bytes() for path in (whole / "everything").rglob("*") if path.is_file()}
    assert run(EVERYTHING, whole / "everything", resume=True) == 0
    assert {path: path.read_bytes() for path in (whole / "everything").rglob("*") if path.is_file()} == before


def test_what_is_not_yet_trained_can_be_resumed(run, whole, tmp_path):
    """`--resume` on a folder that is not there starts the run, so that one command fits a queue."""
    assert run(EVERYTHING, tmp_path / "run", resume=True) == 0
    check_same(tmp_path / "run", whole / "everything")


def test_the_command_line_goes_on_with_the_options_of_the_run(doomed, run, whole, tmp_path):
    out = str(tmp_path / "run")
    assert run(EVERYTHING, out, ("step", 5)) == signal.SIGKILL
    assert doomed({"cli": ["run", "--resume", "--out", out, "--quiet"]}) == 0
    check_same(tmp_path / "run", whole / "everything")


def test_the_log_says_where_a_run_went_on(run, tmp_path):
    assert run(EVERYTHING, tmp_path / "run", ("step", 2 * STEPS + 1)) == signal.SIGKILL
    assert run(EVERYTHING, tmp_path / "run", resume=True) == 0
    told = (tmp_path / "run" / "log.txt").read_text()
    assert told.count("resumed after epoch 2") == 1
