"""What is shown of components and configurations, and that what is shown can be read again."""

import json
import shlex
import tomllib
from pathlib import Path
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from datk.config import plugins
from datk.config.describe import docstring, options, toml_value
from datk.config.models import DataConfig, RunConfig, TrainConfig
from datk.config.resolve import component_class, resolve
from datk.interfaces import ComponentConfig, TermConfig

LOSS = '''
from pathlib import Path
from typing import Literal

from pydantic import BaseModel
from datk.interfaces import AlignmentLoss, TermConfig

class Inner(BaseModel):
    depth: int = 3
    name: str = 'a "quoted" \\\\ name\\x7f\\n'

class Options(TermConfig):
    inner: Inner = Inner()
    """Nested."""
    where: Path | None = None
    """A file."""
    table: dict[str, list[float]] = {"a key": [1e-8, 1e16], "b": []}
    """Numbers by name."""

class Rich(AlignmentLoss):
    """A loss with options of every kind."""

    Config = Options

    def forward(self, source, target, step):
        return source.features.mean() * 0
'''


class Every(ComponentConfig):
    required: int
    share: float = Field(0.5, gt=0, le=1)
    """A share
    of something."""
    pair: tuple[float, int] = (0.5, 1)
    widths: tuple[Annotated[int, Field(ge=1)], ...] = (3, 4)
    names: list[str] = ["a"]  # noqa: RUF012
    kind: Literal["one", "two"] = "one"
    maybe: int | None = None
    made: dict[str, int] = Field(default_factory=dict)
    path: Path = Path("a/b")


def test_options_have_type_bounds_default_and_meaning():
    rows = {option.name: (option.type, option.default, option.meaning) for option in options(Every)}
    assert rows == {
        "required": ("int", "required", ""),
        "share": ("float > 0, ≤ 1", "0.5", "A share of something."),
        "pair": ("[float, int]", "[0.5, 1]", ""),
        "widths": ("list of int ≥ 1", "[3, 4]", ""),
        "names": ("list of str", '["a"]', ""),
        "kind": ("one | two", '"one"', ""),
        "maybe": ("int", "not set", ""),
        "made": ("dict", "{}", ""),
        "path": ("Path", '"a/b"', ""),
    }


@pytest.mark.parametrize(
    "model", [RunConfig, DataConfig, TrainConfig, TermConfig], ids=lambda model: model.__name__
)
def test_every_option_of_the_core_is_documented(model):
    assert [option.name for option in options(model) if not option.meaning] == []


@pytest.mark.parametrize(
    "plugin", [p for kind in plugins.COMPONENTS for p in plugins.find(kind)], ids=lambda plugin: plugin.name
)
def test_every_option_and_every_method_of_a_component_is_documented(plugin):
    cls = component_class(plugin)
    assert [option.name for option in options(cls.Config) if not option.meaning] == []
    assert docstring(cls).startswith(plugin.summary)
    assert plugin.summary.endswith(".")


def test_docstrings_are_unwrapped_but_for_indented_lines():
    def documented():
        """A summary
        in two lines.

            [code]
            a = 1

        The end.
        """

    assert docstring(documented) == "A summary in two lines.\n\n    [code]\n    a = 1\n\nThe end."
    assert docstring(type("Bare", (), {})) == ""


plain = st.recursive(
    st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(plain)
def test_plain_values_survive_toml(value):
    assert tomllib.loads(f"value = {toml_value(value)}")["value"] == value


# --- datk config show ----------------------------------------------------------------------------------


def shown_again(datk, *arguments):
    """The configuration that `datk config show` prints, resolved from its own output."""
    first = datk("config", "show", *arguments)
    assert first.code == 0, first.err
    Path("shown.toml").write_text(first.out)
    second = datk("config", "show", "--config", "shown.toml")
    assert second.code == 0, second.err
    assert second.out == first.out
    return resolve(config="shown.toml").config


def test_the_default_configuration_survives(datk):
    assert shown_again(datk) == resolve().config


def test_a_configuration_with_everything_changed_survives(datk, install):
    Path("my loss.py").write_text(LOSS)
    install("other-dist", {"datk.regularizers": {"fisher": "datk_regularizers.fisher:Fisher"}})
    arguments = """--recipe deepmerge-ii --pair arrays --backbone mlp --seed 5 --init "a 'b'" --device cuda:3
        --align './my loss.py:Rich,mmd' --reg other-dist:fisher,entropy --set align.Rich.where=folder/file
        --set align.mmd.bandwidths=[1e-6,2] --set 'align.Rich.table={x = [1], "a.b" = [2]}'
        --set reg.fisher.weight=2 --set data.split_seed=4 --set 'pair.source=C:\\dir\\ä.npz'"""
    config = shown_again(datk, *shlex.split(arguments))
    assert config.seed == 5
    assert config.init == "a 'b'"
    assert config.pair["source"] == "C:\\dir\\ä.npz"
    assert list(config.reg) == ["other-dist:fisher", "datk:entropy"]
    assert config.train.epochs == 200
    rich = config.align[f"{Path('my loss.py').resolve()}:Rich"]
    assert rich["table"] == {"x": [1.0], "a.b": [2.0]}
    assert rich["inner"] == {"depth": 3, "name": 'a "quoted" \\ name\x7f\n'}
    assert json.loads(config.model_dump_json())["align"]["datk:mmd"]["bandwidths"] == [1e-6, 2.0]


CHANGED = {
    "pair": "arrays",
    "backbone": "mlp",
    "align": "coral,mmd",
    "reg": "entropy",
    "task": "regression",
    "data": {"fractions": [0.6, 0.2, 0.2], "split_seed": "run", "target_rows": "all", "memory_gb": 0.5},
    "split": "paper",
    "train": {"select": "last", "balance": 7, "betas": [0.9, 0.95]},
    "init": "a run",
    "init_normalization": "inherited",
    "hooks": ["told.py"],
    "seed": 3,
    "device": "cpu",
}


def told(values):
    """Without what is not set, which TOML cannot say."""
    if isinstance(values, dict):
        return {key: told(value) for key, value in values.items() if value is not None}
    return values


@pytest.mark.parametrize("changed", [None, *CHANGED])
def test_every_option_is_shown_as_it_is(changed, datk):
    Path("told.py").touch()
    said = {name: CHANGED[name] for name in RunConfig.model_fields if name == changed}
    Path("said.json").write_text(json.dumps(said))
    shown = datk("config", "show", "--config", "said.json")
    assert shown.code == 0, shown.err
    found, config = tomllib.loads(shown.out), resolve(config=said, to_run=False).config
    assert found == told(config.model_dump(mode="json"))
    missing = {name for name in RunConfig.model_fields if getattr(config, name) is None}
    assert set(RunConfig.model_fields) - set(found) == missing
    if changed is not None:
        assert getattr(config, changed) != getattr(resolve().config, changed)
    assert resolve(config=tomllib.loads(shown.out), to_run=False).config == config


def test_every_option_of_a_run_is_changed_once():
    assert set(CHANGED) == set(RunConfig.model_fields)


@pytest.mark.parametrize(
    ("chosen", "reason"),
    [
        (["--recipe", "simreal-transfer-mmd"], "init_normalization=inherited takes the constants"),
        (["--align", "shot", "--pair", "mock-mergers"], "shot starts from the weights of another run"),
    ],
)
def test_what_starts_from_another_run_is_shown_before_there_is_one(chosen, reason, datk):
    shown = datk("config", "show", *chosen)
    assert shown.code == 0, shown.err
    assert "# init is not set\n" in shown.out
    Path("shown.toml").write_text(shown.out)
    assert datk("config", "show", "--config", "shown.toml").out == shown.out
    refused = datk("run", "--config", "shown.toml", "--out", "run")
    assert (refused.code, reason in refused.err, Path("run").exists()) == (2, True, False)
    assert resolve(config="shown.toml", selectors={"init": "a run"}).config.init == "a run"


def test_every_option_stands_under_its_meaning(datk):
    shown = datk("config", "show", "--pair", "arrays", "--backbone", "mlp").out
    assert "# epochs is not set\n" in shown
    assert "\n# Peak learning rate.\nlr = 0.003\n" in shown
    assert "# init is not set\n" in shown
    assert '\n[align."datk:mmd"]\n# Factor with which this term acts on the backbone; ' in shown
    assert '# What is predicted: classes (classification) or numbers (regression).\ntask = "datk:cl' in shown


def test_the_models_are_pydantic_and_refuse_what_they_do_not_know():
    for model in (RunConfig, DataConfig, TrainConfig, TermConfig, ComponentConfig):
        assert issubclass(model, BaseModel)
        assert model.model_config["extra"] == "forbid"
        assert model.model_config["frozen"]
