"""`sys.exit()` in code that is not datk's: a run without a result is never a success."""

import json
from pathlib import Path

import numpy as np
import pytest

import datk as package
from datk.base.errors import PluginError
from tests.toys import TOYS

HEAD = """
import sys
from pydantic import field_validator
from torch import nn
from datk.interfaces import *
"""

TERM = (
    HEAD
    + """
class Exits(Regularizer):
    class Config(Regularizer.Config):
        at: int = 0

        @field_validator("at")
        @classmethod
        def leave(cls, value):
            if value:
                sys.exit(0)
            return value

    def __init__(self, config, model):
        super().__init__(config, model)
        IN_INIT
    def forward(self, source, target, step):
        IN_FORWARD
        return source.features.mean()
    def on_epoch_start(self, backbone, rows):
        IN_EPOCH
"""
)
PAIR = (
    HEAD
    + """
from datk_arrays.pair import Arrays
class Exits(Arrays):
    def __init__(self, config):
        super().__init__(config)
        IN_INIT
    def answers(self, rows):
        IN_ANSWERS
        return super().answers(rows)
"""
)
BACKBONE = (
    HEAD
    + """
class Exits(Backbone):
    def __init__(self, config, pair):
        super().__init__(config, pair)
        IN_INIT
        self.trunk = nn.Flatten()
        self.head = nn.Linear(3 * 16 * 16, pair.outputs)
    def embed(self, x):
        if self.training:
            IN_EMBED
        return {"features": self.trunk(x)}
"""
)
SELECTOR = (
    HEAD
    + """
class Exits(Selector):
    def score(self, source, target):
        IN_SCORE
        return 0.0
"""
)

CASES = {
    "term in __init__": (TERM, "IN_INIT", ["--reg"], "failed in __init__"),
    "term in forward": (TERM, "IN_FORWARD", ["--reg"], "failed in forward"),
    "term before an epoch": (TERM, "IN_EPOCH", ["--reg"], "failed in on_epoch_start"),
    "pair in __init__": (PAIR, "IN_INIT", ["--pair"], "failed in __init__"),
    "pair's answers": (PAIR, "IN_ANSWERS", ["--pair"], "failed in answers"),
    "backbone in __init__": (BACKBONE, "IN_INIT", ["--backbone"], "failed in __init__"),
    "backbone in embed": (BACKBONE, "IN_EMBED", ["--backbone"], "failed in embed"),
    "selector": (SELECTOR, "IN_SCORE", ["--set", "train.select="], "failed in score"),
}


def component(source, place, code="0"):
    """A component that ends the program at one of its places."""
    for other in ("IN_INIT", "IN_FORWARD", "IN_EPOCH", "IN_ANSWERS", "IN_EMBED", "IN_SCORE"):
        source = source.replace(other, f"sys.exit({code})" if other == place else "pass")
    Path("exits.py").write_text(source)
    return "./exits.py:Exits"


@pytest.mark.parametrize(
    ("case", "code"),
    [*((case, "0") for case in CASES), *(("term in forward", code) for code in ("", "1", "'a message'"))],
)
def test_a_component_that_ends_the_program_is_named(datk, tiny_pair, case, code):
    source, place, flags, telling = CASES[case]
    reference = component(source, place, code)
    arguments = [*flags[:-1], flags[-1] + reference] if flags[-1].endswith("=") else [*flags, reference]
    if flags == ["--pair"]:
        tiny_pair = [*tiny_pair]
        tiny_pair[tiny_pair.index("arrays")] = reference
        arguments = []
    outcome = datk("run", *tiny_pair, *arguments, "--out", "run")
    assert outcome.code == 2, outcome.err
    assert not Path("run/result.json").exists()
    error = outcome.err.splitlines()[-1]
    assert error.startswith("error: ")
    assert telling in error
    assert "SystemExit" in error
    assert error.endswith("a component must not end the program")


def test_options_that_end_the_program(datk, tiny_pair):
    reference = component(TERM, "")
    name = f"{Path('exits.py').resolve()}:Exits"
    outcome = datk("run", *tiny_pair, "--reg", reference, "--set", f'reg."{name}".at=1', "--out", "run")
    assert outcome.code == 2
    assert f"error: leave in {Path('exits.py').resolve()} ended the program: SystemExit: 0" in outcome.err


def test_in_python_it_is_an_error_too(tmp_path):
    reference = component(TERM, "IN_FORWARD")
    with pytest.raises(PluginError, match=r"'Exits' failed in forward: SystemExit: 0"):
        package.run(pair=TOYS + "Toy", backbone="mlp", align="none", reg=reference, device="cpu", out="run")
    assert not Path("run/result.json").exists()


SUITE = f"""
title = "Toys"
seeds = [0]
[config]
pair = {{ name = "{TOYS}Toy" }}
backbone = "mlp"
device = "cpu"
[config.train]
epochs = 1
batch_size = 16
[[table]]
name = "toys"
title = "Toys"
[[cell]]
name = "first"
config = {{ align = "none", reg = "FIRST" }}
[[cell]]
name = "second"
config = {{ align = "none" }}
"""


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_suite_makes_its_tables_all_the_same(datk, jobs):
    reference = component(TERM, "IN_FORWARD")
    Path("suite.toml").write_text(SUITE.replace("FIRST", reference))
    outcome = datk("bench", "suite.toml", "--out", "bench", "--jobs", jobs)
    assert outcome.code == 1
    runs = json.loads(Path("bench/suite.json").read_text())["runs"]
    assert [run["status"] for run in runs] == ["failed", "ran"]
    assert "failed in forward: SystemExit: 0" in runs[0]["error"]


def test_a_suite_whose_pair_ends_the_program(datk, tiny_pair):
    Path("suite.toml").write_text(
        SUITE.replace(', reg = "FIRST"', "").replace(f"{TOYS}Toy", component(PAIR, "IN_INIT"))
        .replace('Exits" }', 'Exits", source_x = "x.npy", target_x = "x.npy", source_y = "y.npy" }')
    )  # fmt: skip
    np.save("x.npy", np.random.default_rng(0).normal(size=(40, 4)))
    np.save("y.npy", np.arange(40) % 2)
    outcome = datk("bench", "suite.toml", "--out", "bench")
    assert outcome.code == 1
    runs = json.loads(Path("bench/suite.json").read_text())["runs"]
    assert {run["status"] for run in runs} == {"failed"}
    assert "failed in __init__: SystemExit: 0" in runs[0]["error"]


def test_a_command_of_a_plugin_may_end_the_program(datk, install):
    source = "import click, sys\n@click.command()\ndef leave(): sys.exit(3)\n"
    install("leaver", {"datk.commands": {"leave": "leaver_command:leave"}}, leaver_command=source)
    assert datk("leave").code == 3
