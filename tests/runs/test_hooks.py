"""Notifications reach plugins during a run; a plugin that fails is a warning and the run completes."""

import hashlib
import json
from pathlib import Path

import pytest

from datk.runs.hooks import Hooks

RECORDER = """
from datk.interfaces import hookimpl

calls = []

@hookimpl
def run_started(folder, config):
    calls.append(("run_started", folder, config))

@hookimpl
def epoch_ended(folder, record):
    calls.append(("epoch_ended", folder, record))

@hookimpl
def evaluated(metrics):
    calls.append(("evaluated", None, metrics))

@hookimpl
def run_finished(result, folder):
    calls.append(("run_finished", folder, result))
    assert (folder / "result.json").is_file()
"""

RAISES = """
from datk.interfaces import hookimpl

@hookimpl
def run_started(): raise RuntimeError("no network")

@hookimpl
def epoch_ended(record): raise KeyError(record["epoch"])

@hookimpl
def evaluated(): raise ValueError("evaluated")

@hookimpl
def run_finished(): raise OSError("run_finished")
"""

UNKNOWN_EVENT = """
from datk.interfaces import hookimpl

@hookimpl
def run_started(): raise AssertionError("a plugin that is left out was called")

@hookimpl
def batch_ended(): ...
"""


def install_hook(install, name, source):
    install(f"{name}-dist", {"datk.hooks": {name: f"hook_{name}"}}, **{f"hook_{name}": source})


@pytest.fixture
def recorded(install):
    """What a hook plugin was told so far."""

    def calls():
        import hook_recorder

        return hook_recorder.calls

    install_hook(install, "recorder", RECORDER)
    return calls


def test_all_notifications_arrive_with_their_arguments(datk, tiny_pair, recorded):
    outcome = datk("run", *tiny_pair, "--set", "train.epochs=2", "--set", "train.log_every=1", "--out", "run")
    assert outcome.code == 0, outcome.err
    events, folders, arguments = zip(*recorded(), strict=True)
    assert events == ("run_started", "epoch_ended", "epoch_ended", "evaluated", "run_finished")
    assert {folder for folder in folders if folder} == {Path("run")}
    config, first, second, metrics, result = json.loads(json.dumps(arguments))
    assert config == json.loads(Path("run/config.json").read_text())
    lines = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    assert [first, second] == [line for line in lines if line["kind"] == "epoch"]
    assert result == json.loads(Path("run/result.json").read_text())
    assert metrics == result["metrics"]


def test_a_hook_that_raises_is_a_warning_and_the_run_and_other_hooks_go_on(
    datk, tiny_pair, install, recorded
):
    install_hook(install, "a_raiser", RAISES)
    install_hook(install, "z_raiser", RAISES)
    outcome = datk("run", *tiny_pair, "--out", "run")
    assert outcome.code == 0, outcome.err
    assert Path("run/result.json").is_file()
    assert len(recorded()) == 4
    warned = [line for line in outcome.err.splitlines() if line.startswith("warning: ")]
    for name in ("a_raiser", "z_raiser"):
        for event, reason in {
            "run_started": "RuntimeError: no network",
            "epoch_ended": "KeyError: 1",
            "evaluated": "ValueError: evaluated",
            "run_finished": "OSError: run_finished",
        }.items():
            dist = name.replace("_", "-") + "-dist"
            assert f"warning: hook '{name}' of distribution {dist} failed in {event}: {reason}" in warned


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import nothing_there", "nothing_there"),
        (UNKNOWN_EVENT, "batch_ended"),
        ("from datk.interfaces import hookimpl\n@hookimpl\ndef run_started(weather): ...", "weather"),
    ],
)
def test_a_hook_that_cannot_be_used_is_left_out_with_a_warning(install, recorded, tmp_path, source, reason):
    install_hook(install, "bad", source)
    with pytest.warns(UserWarning, match="hook 'bad' of distribution bad-dist") as warned:
        hooks = Hooks()
    assert len(warned) == 1
    assert reason in str(warned[0].message)
    hooks.notify("run_started", folder=tmp_path, config={})
    assert recorded() == [("run_started", tmp_path, {})]


def test_no_hook_is_installed_with_datk():
    assert Hooks().managers == []


def test_an_object_can_be_a_hook_plugin(install, tmp_path):
    source = (
        "from datk.interfaces import hookimpl\nclass Tracker:\n    seen = None\n    @hookimpl\n"
        "    def evaluated(self, metrics): self.seen = metrics\ntracker = Tracker()"
    )
    install("dist", {"datk.hooks": {"tracker": "hook_object:tracker"}}, hook_object=source)
    Hooks().notify("evaluated", folder=tmp_path, metrics={"source": {}})
    import hook_object

    assert hook_object.tracker.seen == {"source": {}}


# --- what a hook may not do ----------------------------------------------------------------------------

MEDDLER = """
from datk.interfaces import hookimpl

def meddle(given):
    for key in list(given):
        if isinstance(given[key], dict):
            meddle(given[key])
        given[key] = "meddled"

@hookimpl
def run_started(config): meddle(config)

@hookimpl
def epoch_ended(record): meddle(record)

@hookimpl
def evaluated(metrics): meddle(metrics)

@hookimpl
def run_finished(result): meddle(result)
"""

EXITS = "from datk.interfaces import hookimpl\nimport sys\n" + "".join(
    f"@hookimpl\ndef {event}(): sys.exit({code!r})\n"
    for event, code in {"run_started": 0, "epoch_ended": 3, "evaluated": None, "run_finished": "bye"}.items()
)


def test_what_a_hook_does_to_its_arguments_reaches_nobody(datk, tiny_pair, install, recorded):
    assert datk("run", *tiny_pair, "--out", "alone").code == 0
    told = json.loads(json.dumps([arguments for _, _, arguments in recorded()]))
    recorded().clear()
    install_hook(install, "a_meddler", MEDDLER)
    assert datk("run", *tiny_pair, "--out", "run").code == 0
    alone, run = (json.loads(Path(name, "result.json").read_text()) for name in ("alone", "run"))
    again = json.loads(json.dumps([arguments for _, _, arguments in recorded()]))
    for result in (alone, run, told[-1], again[-1], told[1], again[1]):
        for key in ("seconds", "seconds_per_epoch", "hooks"):
            result.pop(key, None)
    assert run == alone
    assert again == told
    configs = [Path(name, "config.json").read_text() for name in ("alone", "run")]
    assert configs[0] == configs[1]
    assert "meddled" not in Path("run/metrics.jsonl").read_text() + Path("run/log.txt").read_text()


def test_a_result_lists_the_hooks_of_all_starts(datk, tiny_pair, recorded):
    Path("first.py").write_text(RECORDER)
    Path("second.py").write_text(MEDDLER)

    def hooks(*more):
        outcome = datk("run", *tiny_pair, "--out", "run", *more)
        assert outcome.code == 0, outcome.err
        return json.loads(Path("run/result.json").read_text())["hooks"]

    installed = {"name": "recorder", "distribution": "recorder-dist", "version": "1.0"}
    first, second = (
        {"file": str(Path(name).resolve()), "sha256": hashlib.sha256(text.encode()).hexdigest()}
        for name, text in (("first.py", RECORDER), ("second.py", MEDDLER))
    )
    assert hooks("--hook", "./first.py") == [installed, first]
    Path("run/result.json").unlink()
    assert hooks("--hook", "./second.py", "--resume") == [installed, first, second]


def test_a_hook_that_is_left_out_is_not_listed(install):
    install_hook(install, "bad", UNKNOWN_EVENT)
    with pytest.warns(UserWarning, match="bad"):
        assert Hooks().loaded == []


def test_a_hook_that_ends_the_program_does_not(datk, tiny_pair, install, recorded):
    install_hook(install, "a_exits", EXITS)
    outcome = datk("run", *tiny_pair, "--out", "run")
    assert outcome.code == 0, outcome.err
    assert Path("run/result.json").is_file()
    assert len(recorded()) == 4
    for event, code in {
        "run_started": ": 0",
        "epoch_ended": ": 3",
        "evaluated": "",
        "run_finished": ": bye",
    }.items():
        assert (
            f"hook 'a_exits' of distribution a-exits-dist failed in {event}: SystemExit{code}\n"
            in outcome.err
        )


def test_ctrl_c_in_a_hook_is_the_users(datk, tiny_pair):
    Path("stops.py").write_text(RAISES.replace('KeyError(record["epoch"])', "KeyboardInterrupt"))
    assert datk("run", *tiny_pair, "--out", "run", "--hook", "./stops.py").code == 130
    assert not Path("run/result.json").exists()
