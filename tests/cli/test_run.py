"""`datk run`: what is told before the heavy modules are loaded, and files of notifications."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import sys
from datk.cli.main import main
try:
    main(sys.argv[1:])
finally:
    print(*sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr)
"""

HOOK = """
import json
from pathlib import Path
from datk.interfaces import hookimpl

def note(event, what):
    with (Path(__file__).parent / "told.txt").open("a") as file:
        file.write(f"{event} {what}\\n")

@hookimpl
def run_started(folder, config):
    note("started", f"{folder.name} {config['seed']}")

@hookimpl
def epoch_ended(record):
    note("epoch", record["epoch"])

@hookimpl
def evaluated(metrics):
    note("evaluated", sorted(metrics))

@hookimpl
def run_finished(folder, result):
    note("finished", result["epochs"])
"""


@pytest.fixture
def hook(tmp_path):
    """A file that writes down what it is told."""
    (tmp_path / "told.py").write_text(HOOK)
    return "./told.py"


def told():
    lines = Path("told.txt").read_text().splitlines()
    Path("told.txt").unlink()
    return lines


# --- a wrong name --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "telling"),
    [
        (["--align", "mdm"], "unknown alignment 'mdm'; did you mean 'mmd'?"),
        (["--align", "none,mdm"], "unknown alignment 'mdm'"),
        (["--reg", "fischer"], "unknown regularizer 'fischer'; did you mean 'fisher'?"),
        (["--backbone", "x"], "unknown backbone 'x'"),
        (["--pair", "x"], "unknown pair 'x'"),
        (["--recipe", "x"], "unknown recipe 'x'"),
        (["--set", "task=x"], "unknown task 'x'"),
        (["--set", "train.select=x"], "unknown selector 'x'"),
        (["--align", "./x.py:X"], "there is no file ./x.py"),
        (["--hook", "./x.py"], "there is no file ./x.py; write path/to/file.py"),
        (["--set", "train.lr=-1"], "train.lr must be greater than 0"),
        (["--set", "train.epoch=1"], "unknown option 'train.epoch'"),
        (["--seed", "x"], "--seed x: write a whole number"),
    ],
)
def test_what_is_wrong_with_a_name_is_told_before_torch_is_loaded(arguments, telling):
    """A wrong option of the core, too; those of a component are known once it is loaded."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, "run", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    error, modules = done.stderr.splitlines()
    assert error.startswith(f"error: {telling}")
    assert {"datk", "click"} <= set(modules.split())
    assert not set(modules.split()) & {"torch", "torchvision", "sklearn", "scipy", "h5py", "numpy"}
    assert not [name for name in modules.split() if name.startswith("datk_")]


# --- hooks ---------------------------------------------------------------------------------------------


def test_a_file_is_told_of_a_run(datk, tiny_pair, hook):
    outcome = datk("run", *tiny_pair, "--out", "run", "--seed", "3", "--epochs", "2", "--hook", hook)
    assert outcome.code == 0, outcome.err
    assert told() == [
        "started run 3", "epoch 1", "epoch 2", "evaluated ['source', 'target']", "finished 2",
    ]  # fmt: skip
    assert json.loads(Path("run/config.json").read_text())["hooks"] == [str(Path("told.py").resolve())]


def test_hooks_change_no_number_and_can_be_others_on_resume(datk, tiny_pair, hook):
    def ran(*more, out="run"):
        outcome = datk("run", *tiny_pair, "--out", out, *more)
        assert outcome.code == 0, outcome.err
        return json.loads(Path(out, "result.json").read_text())["weights_sha256"]

    without = ran(out="without")
    Path("first.py").write_text(HOOK.replace("told.txt", "first.txt"))
    assert ran("--hook", "./first.py", "--hook", hook) == without
    assert Path("first.txt").is_file()
    told()
    Path("run/result.json").unlink()
    Path("first.txt").unlink()
    Path("first.py").unlink()
    assert ran("--hook", hook, "--resume") == without
    assert told() == ["started run 0", "evaluated ['source', 'target']", "finished 1"]
    assert not Path("first.txt").exists()


def test_a_hook_that_raises_is_a_warning(datk, tiny_pair):
    Path("odd.py").write_text(HOOK.replace('note("epoch", record["epoch"])', "1 / 0"))
    outcome = datk("run", *tiny_pair, "--out", "run", "--hook", "./odd.py")
    assert outcome.code == 0
    warning = next(line for line in outcome.err.splitlines() if line.startswith("warning: "))
    assert "odd.py' failed in epoch_ended: ZeroDivisionError" in warning
    assert told()[-1] == "finished 1"


@pytest.mark.parametrize(
    ("name", "telling"),
    [
        ("./absent.py", "there is no file ./absent.py; write path/to/file.py"),
        ("./broken.py", "broken.py' cannot be loaded: SyntaxError"),
        ("./told.py:nothing", "there is no 'nothing' in it"),
        ("told", "hooks: 'told' is no file; write path/to/file.py"),
    ],
)
def test_a_hook_that_cannot_be_loaded_costs_nothing(datk, tiny_pair, hook, name, telling):
    """Not even the run that was to be replaced."""
    assert datk("run", *tiny_pair, "--out", "run").code == 0
    before = Path("run/result.json").read_text()
    Path("broken.py").write_text("def (:")
    for arguments in (["--out", "run", "--force"], ["--out", "new"]):
        outcome = datk("run", *tiny_pair, *arguments, "--hook", name)
        assert outcome.code == 2
        assert telling in outcome.err
        assert outcome.err.count("\n") == 1
    assert Path("run/result.json").read_text() == before
    assert not Path("new").exists()
