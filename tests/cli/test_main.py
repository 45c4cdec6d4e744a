"""The command line: its flags, what it prints where, its exit codes, and commands of plugins."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from datk.base.version import __version__
from datk.cli.console import progress
from datk.cli.main import cli

RAISING = """
from datk.interfaces import AlignmentLoss

class Faulty(AlignmentLoss):
    def forward(self, source, target, step):
        raise {error}
"""

COMMANDS = '''
import click

@click.command()
@click.argument("name")
@click.pass_context
def greet(ctx, name):
    """Say hello to NAME."""
    if name == "nobody":
        raise click.ClickException("there is nobody")
    if name == "everybody":
        ctx.exit(5)
    click.echo(f"hello {name}")
    return "a value that is no exit code"

no_command = 3
'''


def completed(outcome):
    assert outcome.code == 0, outcome.err
    return outcome


def raising(error):
    Path("faulty.py").write_text(RAISING.format(error=error))
    return ["--align", "./faulty.py:Faulty"]


# --- flags ---------------------------------------------------------------------------------------------


def test_the_flags_of_run_are_frozen():
    """A new knob is a field of the configuration. Do not extend this list."""
    flags = [name for parameter in cli.commands["run"].params for name in parameter.opts]
    assert " ".join(flags) == (
        "--backbone --align --reg --pair --recipe --config --set --init --seed --epochs --time-budget"
        " --device --out --resume --force --baseline --hook --quiet"
    )
    assert not [parameter for parameter in cli.commands["run"].params if parameter.secondary_opts]


def test_every_flag_has_a_help_text(datk):
    assert all(parameter.help for parameter in cli.commands["run"].params)
    shown = completed(datk("run", "--help")).out
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["plugins"], ["run", "--recipe", "absent"]])
def test_python_m_datk_is_the_same_program(datk, arguments):
    done = subprocess.run(
        [sys.executable, "-m", "datk", *arguments], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == datk(*arguments)


def test_version_and_help(datk):
    assert completed(datk("--version")).out == f"datk, version {__version__}\n"
    shown = completed(datk()).out
    assert shown == completed(datk("--help")).out == completed(datk("-h")).out
    assert [line.split()[0] for line in shown.split("Commands:\n")[1].splitlines()] == [
        "bench",
        "config",
        "data",
        "plugins",
        "run",
    ]


@pytest.mark.parametrize(
    ("arguments", "telling"),
    [
        (["rnu"], "unknown command 'rnu'; did you mean 'run'?"),
        (["run", "--bakbone", "mlp"], "--backbone"),
        (["run", "--epochs", "two"], "'two' is not a valid integer; see datk run --help"),
        (["run", "--epochs"], "option '--epochs' requires an argument"),
        (["run", "extra"], "extra"),
        (["config"], "missing command; see datk config --help"),
        (["plugins", "show"], "missing argument"),
        (["plugins", "frob"], "frob"),
        (["run", "--resume"], "--resume needs --out"),
        (["run", "--resume", "--force", "--out", "run"], "choose one"),
        (["run", "--resume", "--out", "absent"], "there is no run absent to go on with"),
        (["run", "--seed", "1-"], "--seed 1-: write a whole number"),
    ],
)
def test_wrong_usage_is_one_line(datk, arguments, telling):
    outcome = datk(*arguments)
    assert outcome.code == 2
    assert outcome.out == ""
    assert outcome.err.startswith("error: ")
    assert outcome.err.count("\n") == 1
    assert telling in outcome.err
    assert list(Path().iterdir()) == []


# --- errors --------------------------------------------------------------------------------------------


def test_an_error_with_several_lines_becomes_one(datk):
    Path("lines.py").write_text("raise RuntimeError('first\\n  second\\n')")
    outcome = datk("plugins", "show", "./lines.py:Loss")
    assert outcome.code == 2
    assert outcome.err.count("\n") == 1
    assert "first second" in outcome.err


def test_an_exception_of_ones_own_component_names_it_and_its_method(datk, tiny_pair):
    outcome = datk("run", *tiny_pair, *raising("ZeroDivisionError('in the loss')"), "--out", "run")
    assert outcome.code == 2
    last = outcome.err.splitlines()[-1]
    telling = "alignment 'Faulty' failed in forward: ZeroDivisionError: in the loss"
    assert last == f"error: {telling}; DATK_DEBUG=1 shows where"
    assert "Traceback" not in outcome.err
    assert not Path("run/result.json").exists()


@pytest.mark.parametrize(
    ("broken", "telling"),
    [
        (
            "datk_discrepancy.mmd.MMD.forward",
            "alignment 'mmd' of distribution datk failed in forward: ZeroDivisionError: sorry",
        ),
        ("datk.data.dataset.TrainingData.batches", "ZeroDivisionError: sorry"),
    ],
    ids=["a shipped component", "no component"],
)
def test_a_fault_of_datk_is_told_apart_from_a_mistake_of_the_user(
    datk, tiny_pair, monkeypatch, broken, telling
):
    def forward(self, *arguments):
        raise ZeroDivisionError("sorry")

    monkeypatch.setattr(broken, forward)
    outcome = datk("run", *tiny_pair, "--out", "run")
    assert outcome.code == 1
    last = outcome.err.splitlines()[-1]
    assert last.startswith(f"internal error: {telling}; this is a fault in datk or a plugin")
    assert "DATK_DEBUG=1" in last
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize("arguments", [["--align", "mdm"], ["--align", "./faulty.py:Faulty"]])
def test_a_traceback_is_shown_on_demand(datk, tiny_pair, monkeypatch, arguments):
    raising("ZeroDivisionError")
    monkeypatch.setenv("DATK_DEBUG", "1")
    outcome = datk("run", *tiny_pair, *arguments)
    assert outcome.code == 2
    assert "Traceback" in outcome.err
    assert "error: " in outcome.err.splitlines()[-1]


def test_an_interrupted_run_says_how_to_go_on(datk, tiny_pair):
    Path("slow.py").write_text(
        "from pathlib import Path\nfrom datk_discrepancy.mmd import MMD\nclass Slow(MMD):\n"
        "    def on_epoch_start(self, backbone, rows):\n"
        "        if Path('press').exists() and 'epoch   1' in Path('run/log.txt').read_text():\n"
        "            raise KeyboardInterrupt\n"
    )
    arguments = ["run", *tiny_pair, "--align", "./slow.py:Slow", "--set", "train.epochs=2", "--out", "run"]
    Path("press").touch()
    outcome = datk(*arguments)
    assert outcome.code == 130
    assert outcome.err.endswith("interrupted; go on with the same command and --resume --out run\n")
    Path("press").unlink()
    assert "resumed after epoch 1" in completed(datk(*arguments, "--resume")).err


# --- what is printed where -----------------------------------------------------------------------------


def test_results_go_to_the_output_and_progress_elsewhere(datk, tiny_pair):
    outcome = completed(datk("run", *tiny_pair, "--out", "run"))
    assert max(map(len, outcome.out.splitlines())) <= 80
    rows = [line.split() for line in outcome.out.splitlines()]
    assert ["test", "split", "source", "target"] in rows
    metrics = json.loads(Path("run/result.json").read_text())["metrics"]
    shown = [f"{metrics[domain]['test']['accuracy']:.3f}" for domain in ("source", "target")]
    assert ["accuracy", *shown] in rows
    assert outcome.out.endswith("\nrun folder: run\n")
    assert "mmd on arrays, seed 0" in outcome.out
    assert "epoch   1" in outcome.err
    scores = outcome.out.partition("rows of class")[0]
    assert "validation" not in scores.replace("source-validation-loss", "")


def test_quiet_prints_the_run_folder_only(datk, tiny_pair):
    assert completed(datk("run", *tiny_pair, "--quiet", "--out", "run")) == (0, "run\n", "")


def test_without_out_each_run_has_a_new_folder_in_runs(datk, tiny_pair):
    folders = {completed(datk("run", *tiny_pair, "--quiet")).out.strip() for _ in range(2)}
    assert len(folders) == 2
    assert {Path(folder) for folder in folders} == set(Path("runs").iterdir())
    assert all("arrays-mlp-mmd" in folder for folder in folders)


def test_several_seeds_are_summarised(datk, tiny_pair):
    outcome = completed(datk("run", *tiny_pair, "--seed", "0-1", "--out", "runs"))
    assert {path.name for path in Path("runs").iterdir()} == {"seed-0", "seed-1", "summary.json"}
    assert "mean ± standard deviation over seeds 0, 1" in outcome.out
    results = [json.loads(Path(f"runs/seed-{seed}/result.json").read_text()) for seed in (0, 1)]
    values = [result["metrics"]["target"]["test"]["brier"] for result in results]
    mean, deviation = sum(values) / 2, abs(values[0] - values[1]) / 2**0.5
    brier = next(line for line in outcome.out.splitlines() if "Brier" in line)
    assert brier.endswith(f"{mean:.3f} ± {deviation:.3f}  ")

    outcome = datk("run", "--resume", "--out", "runs")
    assert outcome.code == 2
    assert "--seed" in outcome.err
    again = completed(datk("run", "--resume", "--out", "runs", "--seed", "0,1"))
    assert "is complete already" in again.err
    assert brier in again.out


def test_resume_takes_the_configuration_that_was_recorded(datk, tiny_pair):
    first = completed(datk("run", *tiny_pair, "--reg", "entropy", "--out", "run"))
    Path("run/result.json").unlink()
    resumed = completed(datk("run", "--resume", "--out", "run"))
    assert "resumed after epoch 1" in resumed.err
    assert resumed.out.splitlines()[:12] == first.out.splitlines()[:12]


def test_a_target_without_labels_is_said_to_be_unscored(datk, tiny_pair):
    unlabelled = tiny_pair.index("pair.target_y=target_y")
    arguments = tiny_pair[: unlabelled - 1] + tiny_pair[unlabelled + 1 :]
    outcome = completed(datk("run", *arguments, "--out", "run"))
    assert "note: the target has no labels" in outcome.out
    assert ["test", "split", "source"] in [line.split() for line in outcome.out.splitlines()]


def test_the_recorded_configuration_repeats_the_run(datk, tiny_pair):
    completed(datk("run", *tiny_pair, "--reg", "fisher", "--out", "run"))
    completed(datk("run", "--config", "run/config.json", "--out", "again"))
    for name in ("config.json", "splits.npz"):
        assert Path("run", name).read_bytes() == Path("again", name).read_bytes()
    first, again = (json.loads(Path(run, "result.json").read_text()) for run in ("run", "again"))
    assert first["weights_sha256"] == again["weights_sha256"]
    assert first["metrics"] == again["metrics"]


def test_warnings_are_lines(datk, tiny_pair):
    Path("warns.py").write_text(
        "import warnings\nfrom datk_discrepancy.none import SourceOnly as Base\nclass Warns(Base):\n"
        "    def setup(self, backbone): warnings.warn('mind the gap')\n"
    )
    outcome = completed(datk("run", *tiny_pair, "--align", "./warns.py:Warns", "--out", "run"))
    assert "warning: mind the gap" in outcome.err.splitlines()


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_gets_a_bar(datk, tiny_pair, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    (bar,) = progress.reporters(quiet=False)
    monkeypatch.setattr(progress, "reporters", lambda quiet: [bar])
    completed(datk("run", *tiny_pair, "--set", "train.log_every=1", "--out", "run"))
    shown = terminal.getvalue()
    assert "arrays: mlp with mmd, seed 0" in shown
    assert "epoch 1/1  validation accuracy" in shown
    assert "classification 0." in shown
    assert "3/3" in shown


# --- commands of plugins -------------------------------------------------------------------------------


@pytest.fixture
def commands(install):
    """Commands `greet` and `odd` of a distribution, and one that cannot be imported."""
    install(
        "cmd-dist",
        {
            "datk.commands": {
                "greet": "my_commands:greet",
                "odd": "my_commands:no_command",
                "bad": "bad_commands:x",
            }
        },
        my_commands=COMMANDS,
        bad_commands="import nothing_there",
    )


def test_a_command_is_listed_without_being_imported(datk, commands):
    listed = completed(datk("--help")).out
    assert "greet    Say hello to NAME. (cmd-dist)" in listed
    assert "bad" in listed
    assert "my_commands" not in sys.modules
    assert "greet" in completed(datk("plugins")).out


def test_a_command_runs(datk, commands):
    assert completed(datk("greet", "you")).out == "hello you\n"
    assert completed(datk("cmd-dist:greet", "you")).out == "hello you\n"
    assert "Usage: datk greet" in completed(datk("greet", "--help")).out
    assert datk("greet", "everybody").code == 5
    assert datk("greet", "nobody") == (1, "", "error: there is nobody\n")
    assert datk("greet").err == "error: missing argument 'NAME'; see datk greet --help\n"
    assert datk("gret").err == "error: unknown command 'gret'; did you mean 'greet'?\n"


@pytest.mark.parametrize(("name", "reason"), [("odd", "it is no click command"), ("bad", "nothing_there")])
def test_a_command_that_cannot_be_used_is_an_error_when_it_is_called(datk, commands, name, reason):
    outcome = datk(name)
    assert outcome.code == 2
    assert f"command '{name}' of distribution cmd-dist" in outcome.err
    assert reason in outcome.err


def test_commands_of_the_same_name(datk, commands, install):
    groups = {"datk.commands": {"greet": "their_commands:greet", "run": "their_commands:greet"}}
    install("their-dist", groups, their_commands=COMMANDS.replace("hello", "hi"))
    outcome = datk("greet", "you")
    assert outcome.code == 2
    assert "cmd-dist:greet or their-dist:greet" in outcome.err
    assert completed(datk("their-dist:greet", "you")).out == "hi you\n"
    assert "Train, adapt and evaluate" in completed(datk("run", "--help")).out
    assert completed(datk("their-dist:run", "you")).out == "hi you\n"
