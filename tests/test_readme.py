"""The README's commands, files and code are valid as written."""

import re
import shlex
from pathlib import Path

import click
import h5py
import numpy as np
import pytest
from click.testing import CliRunner

import datk
from datk.cli.main import cli

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = "\n".join(path.read_text() for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))))
COMMANDS = re.findall(
    r"^ {4}(?:pip install \. && )?(datk .*)$", PAGES.replace("\\\n", ""), flags=re.MULTILINE
)
ONLY_OF_RUN = re.compile(r"--(out|time-budget) \S+|--(resume|force|quiet|baseline)\b")


def block(language, page=README):
    return re.findall(rf"```{language}\n(.*?)```", page, flags=re.DOTALL)


def test_the_two_lines_of_set_up_stand_in_the_readme():
    assert "    pip install . && datk run --backbone deepmerge --align mmd --reg fisher,entropy\n" in README
    assert '    pip install -e ".[dev]" && pytest\n' in README


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_valid(command):
    Path("energy.py").write_text(block("python")[1])
    Path("my-data.toml").write_text(block("toml")[0])
    Path("galaxies.toml").write_text(block("toml", (ROOT / "docs" / "regression.md").read_text())[0])
    for part in command.split("&&"):
        check(
            shlex.split(
                ONLY_OF_RUN.sub("", part) if part.strip().startswith("datk run") else part, comments=True
            )[1:]
        )


def check(words):
    """Call what changes nothing; parse the words of the rest, and resolve what `run` would do."""
    if words[0] in ("data", "bench"):
        command, name = cli, "datk"
        while isinstance(command, click.Group):
            name, *words = words
            command = command.commands[name]
        command.make_context(name, words)
        return
    if words[0] == "run":
        words = ["config", "show", *words[1:]]
    result = CliRunner().invoke(cli, words)
    assert result.exit_code == 0, result.output


def test_the_configuration_file_and_the_python_code_run():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (40, 3, 16, 16), dtype=np.uint8)
    fields = {"images": images, "labels": np.arange(40) % 2, "galaxy_id": np.arange(40) // 2}
    with h5py.File("simulated.h5", "w") as file:
        for name, value in fields.items():
            file[name] = value
    np.savez("observed.npz", images=images, galaxy_id=fields["galaxy_id"])
    Path("my-data.toml").write_text(block("toml")[0].replace("epochs = 30", "epochs = 1"))
    vectors = rng.normal(size=(40, 6))
    names: dict = {"x": vectors, "y": fields["labels"], "x_new": vectors + 1}
    exec(block("python")[0], names)
    assert names["result"].metrics["target"] == {}
    assert names["datk"] is datk
    assert any("no labels" in note for note in names["result"].notes)
    assert [result.seed for result in names["several"].results] == [0, 1, 2]
