"""Options of the core: what earlier versions wrote, and components that are named in other places."""

import json
import math
import tomllib
from pathlib import Path

import pytest

from datk.base.errors import ConfigError, PluginError
from datk.config.describe import config_toml
from datk.config.models import GONE, DataConfig, RunConfig, TrainConfig
from datk.config.resolve import changed, resolve
from datk.config.validation import validate

SMALL = {"pair": "arrays", "backbone": "mlp"}
SELECTOR = """
from datk.interfaces import ComponentConfig, Selector

class Options(ComponentConfig):
    margin: float = 0.5
    '''How much better is better.'''

class Margin(Selector):
    '''A margin.'''

    Config = Options

    def score(self, source, target):
        return 0.0
"""

# --- options of earlier versions -----------------------------------------------------------------------


@pytest.mark.parametrize("name", GONE)
@pytest.mark.parametrize("value", [False, "false", "False", 0])
def test_an_option_that_is_gone_may_say_that_it_does_nothing(name, value):
    assert validate(TrainConfig, {name: value, "epochs": 3}) == TrainConfig(epochs=3)


@pytest.mark.parametrize("value", [True, "true", "yes", 1, None, [False]])
@pytest.mark.parametrize(
    ("name", "advice"),
    [
        (
            "together",
            "together is no longer an option; datk bench --jobs N trains several seeds side by side",
        ),
        ("graphs", "graphs is no longer an option; train.compile=reduce-overhead records CUDA graphs"),
    ],
)
def test_an_option_that_is_gone_cannot_be_asked_for(name, advice, value):
    with pytest.raises(ConfigError, match=f"^train: {advice}$"):
        validate(TrainConfig, {name: value}, "train")
    with pytest.raises(ConfigError, match=f"^train: {advice}$"):
        resolve(config=SMALL, overrides={f"train.{name}": value})


@pytest.mark.parametrize(
    ("value", "mode"),
    [
        (False, "none"), ("false", "none"), (True, "default"), ("true", "default"), ("none", "none"),
        ("default", "default"), ("reduce-overhead", "reduce-overhead"), ("max-autotune", "max-autotune"),
    ],
)  # fmt: skip
def test_compile_is_the_name_of_a_mode_and_was_a_switch(value, mode):
    assert validate(TrainConfig, {"compile": value}).compile == mode


@pytest.mark.parametrize("value", ["fast", 1, None])
def test_another_mode_is_refused(value):
    with pytest.raises(ConfigError, match=r"train.compile must be 'none', 'default', 'reduce-overhead' or"):
        validate(TrainConfig, {"compile": value}, "train")


def test_a_configuration_of_an_earlier_version_is_that_of_today():
    today = resolve(config=SMALL).config
    earlier = json.loads(today.model_dump_json())
    for name in ("task", "hooks"):
        del earlier[name]
    earlier |= {"pair": earlier["pair"] | {"name": "arrays"}, "align": {"mmd": earlier["align"]["datk:mmd"]}}
    del earlier["pair"]["task"]
    earlier["backbone"]["name"] = "mlp"
    earlier["train"] |= {"select": "last", "compile": False, "together": False}
    earlier["train"]["graphs"] = False
    Path("config.json").write_text(json.dumps(earlier))
    assert resolve(config="config.json").config == today


@pytest.mark.parametrize(
    ("value", "seed"), [(None, "run"), ("run", "run"), (3, 3), ("3", 3), (" 4 ", 4), (5.0, 5), (2**62, 2**62)]
)
def test_the_seed_of_the_split_is_a_number_or_that_of_the_run(value, seed):
    config = resolve(config=[SMALL, {"data": {"split_seed": value}}]).config
    assert config.data.split_seed == seed
    assert RunConfig().data.split_seed == 0
    assert resolve(config=config.model_dump(mode="json")).config == config


@pytest.mark.parametrize("value", [-1, "-1", True, 0.5, "none", [1], "1e3", "²"])
def test_another_seed_of_the_split_is_refused(value):
    with pytest.raises(
        ConfigError, match=r"^data\.split_seed: must be a whole number from 0, or run for the"
    ):
        resolve(config=[SMALL, {"data": {"split_seed": value}}])


# --- components ----------------------------------------------------------------------------------------


def test_every_component_of_the_defaults_is_named_in_full():
    config = RunConfig()
    named = [config.pair, config.backbone, config.task, config.train.select]
    names = [table["name"] for table in named] + [*config.align, *config.reg]
    assert [name for name in names if not name.startswith("datk:")] == []


@pytest.mark.parametrize(
    ("section", "short", "full"),
    [
        ("pair", "arrays", "datk:arrays"),
        ("backbone", "mlp", "datk:mlp"),
        ("task", "classification", "datk:classification"),
        ("train.select", "last", "datk:last"),
    ],
)
@pytest.mark.parametrize("form", ["short", "full", "table"])
def test_a_component_is_recorded_in_full_however_it_is_named(section, short, full, form):
    *above, key = section.split(".")
    said = {key: {"short": short, "full": full, "table": {"name": short}}[form]}
    config = resolve(config=[SMALL, {above[0]: said} if above else said]).config
    table = getattr(config.train if above else config, key)
    assert table["name"] == full


def test_a_selector_has_options_and_may_be_a_file():
    Path("mine.py").write_text(SELECTOR)
    name = f"{Path('mine.py').resolve()}:Margin"
    experiment = resolve(config=SMALL, overrides=["train.select=./mine.py:Margin"])
    assert experiment.select.label == "Margin"
    assert experiment.config.train.select == {"name": name, "margin": 0.5}
    overrides = ['train.select={name = "./mine.py:Margin", margin = 2}']
    experiment = resolve(config=SMALL, overrides=overrides)
    assert experiment.config.train.select == {"name": name, "margin": 2.0}
    Path("again.toml").write_text(config_toml(experiment))
    assert resolve(config="again.toml").config == experiment.config
    with pytest.raises(ConfigError, match=r"^unknown option 'train.select.margn'; did you mean"):
        resolve(config=SMALL, overrides=['train.select={name = "./mine.py:Margin", margn = 2}'])
    with pytest.raises(PluginError, match=r"cannot be used as selector: it is no subclass of Selector"):
        resolve(config=SMALL, overrides=["train.select=./mine.py:Options"])


@pytest.mark.parametrize("value", [[1], {"margin": 1}, {"name": 3}, None, 3.5])
@pytest.mark.parametrize("key", ["task", "train.select", "pair.name", "backbone.name"])
def test_what_names_no_component_is_refused(key, value):
    with pytest.raises(ConfigError, match=rf"^{key.removesuffix('.name')}"):
        resolve(config=SMALL, overrides={key: value})


def test_a_component_that_needs_classes_is_refused_where_there_are_none():
    for options, telling in [
        ({"reg": "fisher"}, "regularizer 'fisher' needs classes, and task 'regression' predicts none"),
        ({"train": {"select": "source-validation-accuracy"}}, "selector 'source-validation-accuracy' needs"),
    ]:
        with pytest.raises(ConfigError, match=telling):
            resolve(config=[SMALL, {"task": "regression"}, options])
    assert resolve(config=[SMALL, {"task": "regression"}]).config.pair["task"] == "regression"


# --- what counts as a change ---------------------------------------------------------------------------


def test_a_hash_is_of_what_differs_from_the_defaults():
    Path("told.py").touch()
    plain = changed(resolve(config=SMALL))
    assert plain == {
        "pair": {"name": "datk:arrays"},
        "backbone": {"name": "datk:mlp"},
        "align": [{"name": "datk:mmd"}],
        "reg": [],
        "train": {},
    }
    same = [
        {"task": "classification", "train": {"select": "last", "patience": 0}},
        {"hooks": ["./told.py"], "align": {"mmd": {"weight": 1.0}}},
        {"train": {"compile": "false", "graphs": False}},
    ]
    for options in same:
        assert changed(resolve(config=[SMALL, options])) == plain
    others = [
        ({"seed": 1}, {"seed": 1}),
        ({"align": {"mmd": {"weight": 2}}}, {"align": [{"name": "datk:mmd", "weight": 2.0}]}),
        ({"task": "regression"}, {"task": {"name": "datk:regression"}}),
        (
            {"train": {"select": "source-validation-loss"}},
            {"train": {"select": {"name": "datk:source-validation-loss"}}},
        ),
        ({"train": {"lr": 0.5}}, {"train": {"lr": 0.5}}),
    ]
    for options, difference in others:
        assert changed(resolve(config=[SMALL, options])) == plain | difference


# --- what means no data --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("-999", (-999.0,)),
        ("nan", ("nan",)),
        ("NaN, -32768,+Infinity", ("nan", -32768.0, "inf")),
        (-999, (-999.0,)),
        (math.nan, ("nan",)),
        ([math.nan, -math.inf, 1e30], ("nan", "-inf", 1e30)),
        (["nan", "-9.5e3"], ("nan", -9500.0)),
        ([], ()),
    ],
)
def test_missing_values_are_read_and_written_and_read_again(given, read):
    config = RunConfig(data={"missing": given})
    assert config.data.missing == read
    written = json.dumps(config.model_dump(mode="json"), allow_nan=False)
    assert RunConfig(**json.loads(written)) == config
    chosen = resolve(config=SMALL | {"data": {"missing": given}, "pair": "mock-mergers"})
    assert resolve(config=tomllib.loads(config_toml(chosen))).config.data.missing == read


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"missing": "none"}, r"missing\.0\.float .*number"),
        ({"missing": {"a": 1}}, "missing"),
        ({"missing_fill": "mean"}, "missing_fill"),
        ({"missing_fill": "nan"}, "missing_fill"),
        ({"clip": [99, 1]}, "clip must be two percentiles in increasing order"),
        ({"clip": [-1, 50]}, "clip must be two percentiles"),
        ({"clip": [5]}, "clip"),
        ({"evaluation_batch": 0}, "evaluation_batch"),
    ],
)
def test_what_cleans_no_values_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        validate(DataConfig, options)
