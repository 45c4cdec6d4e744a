"""Layers of configuration, keys and values as they are typed, and what any text at all can do to them."""

import json
import tomllib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datk.base.errors import ConfigError, DatkError
from datk.cli.options import parse_seeds
from datk.config.describe import config_toml
from datk.config.merge import parse_key, parse_override
from datk.config.models import RunConfig, TrainConfig
from datk.config.resolve import resolve

ARRAYS = {"pair": "arrays", "backbone": "mlp"}


def resolved(**arguments):
    arguments["selectors"] = {**ARRAYS, **arguments.get("selectors", {})}
    return resolve(**arguments).config


# --- layers --------------------------------------------------------------------------------------------


def test_each_layer_goes_over_the_one_below():
    Path("recipe.toml").write_text("[train]\nepochs = 2\nlr = 0.2\nbatch_size = 20\npatience = 2\n")
    Path("config.toml").write_text("[train]\nepochs = 3\nlr = 0.3\nbatch_size = 30\n")
    layers = {}
    for layer, expected in [
        ({}, (None, 3e-3, 128, 0)),
        ({"recipe": "recipe.toml"}, (2, 0.2, 20, 2)),
        ({"config": "config.toml"}, (3, 0.3, 30, 2)),
        ({"selectors": {"epochs": 4}}, (4, 0.3, 30, 2)),
        ({"overrides": ["train.epochs=5", "train.lr=0.5"]}, (5, 0.5, 30, 2)),
        ({"overrides": ["train.epochs=5", "train.epochs=6"]}, (6, 0.3, 30, 2)),
    ]:
        layers |= layer
        train = resolved(**layers).train
        assert (train.epochs, train.lr, train.batch_size, train.patience) == expected


def test_the_shipped_recipe_sets_what_it_says():
    train = resolved(recipe="deepmerge-ii").train
    assert (train.epochs, train.schedule) == (200, "triangle")
    assert train.select == {"name": "datk:source-validation-accuracy"}
    assert resolved(recipe="deepmerge-ii", selectors={"epochs": 3}).train.epochs == 3


def test_a_layer_that_names_losses_replaces_the_selection_and_keeps_their_options():
    config = {"align": {"mmd": {"weight": 2.0}, "coral": {"weight": 3.0}}, "reg": ["fisher"]}
    assert list(resolved(config=config).align) == ["datk:mmd", "datk:coral"]
    chosen = resolved(config=config, selectors={"align": "dann,coral", "reg": "entropy"})
    assert list(chosen.align) == ["datk:dann", "datk:coral"]
    assert chosen.align["datk:coral"]["weight"] == 3.0
    assert list(chosen.reg) == ["datk:entropy"]
    assert resolved(config=config, selectors={"reg": "none"}).reg == {}
    assert list(resolved(config=config, selectors={"align": ["mmd"]}).align) == ["datk:mmd"]


def test_a_layer_that_names_another_component_drops_the_options_of_the_one_below():
    config = {"backbone": {"name": "mlp", "hidden": [7]}, "pair": {"name": "arrays", "source": "a.npz"}}
    below = resolve(config=config).config
    assert below.backbone["hidden"] == [7]
    kept = resolve(config=config, selectors={"backbone": "mlp"}).config
    assert kept.backbone["hidden"] == [7]
    assert kept.pair["source"] == "a.npz"
    assert "hidden" not in resolve(config=config, selectors={"backbone": "deepmerge"}).config.backbone


def test_options_of_a_selected_component_can_be_set_without_its_name():
    chosen = resolve(config={"backbone": {"hidden": [7]}}, selectors={"backbone": "mlp", "pair": "arrays"})
    assert chosen.config.backbone["name"] == "datk:mlp"


@pytest.mark.parametrize(
    ("text", "option", "value"),
    [
        ("train.lr=1e-2", "lr", 0.01),
        (" train.lr = 0.5 ", "lr", 0.5),
        ("train.amsgrad=false", "amsgrad", False),
        ("train.betas=[0.9, 0.99]", "betas", (0.9, 0.99)),
        ("train.schedule=cosine", "schedule", "cosine"),
        ('train.schedule="cosine"', "schedule", "cosine"),
        ("train.epochs=7", "epochs", 7),
    ],
)
def test_values_are_written_as_one_would_expect(text, option, value):
    assert getattr(resolved(overrides=[text]).train, option) == value


def test_values_given_in_python_are_taken_as_they_are():
    config = resolved(overrides={"train.lr": 0.5, "pair.source_x": "[odd]=name", "seed": 3})
    assert (config.train.lr, config.pair["source_x"], config.seed) == (0.5, "[odd]=name", 3)


@pytest.mark.parametrize(
    ("key", "parts"),
    [
        ("seed", ["seed"]),
        ("align.mmd.weight", ["align", "mmd", "weight"]),
        ("align.my-dist:mmd.weight", ["align", "my-dist:mmd", "weight"]),
        ('align."./my loss.py:A".weight', ["align", "./my loss.py:A", "weight"]),
        ("align.'./l.py:A'.weight", ["align", "./l.py:A", "weight"]),
    ],
)
def test_keys(key, parts):
    assert parse_key(key) == parts
    assert parse_override(f"{key}=a=b") == (parts, "a=b")


@pytest.mark.parametrize("key", ["", ".", "a.", ".a", "a..b", "a b", 'a."b', "a.'b", "=", "a\n"])
def test_keys_that_are_none(key):
    with pytest.raises(ConfigError):
        parse_key(key)


# --- errors --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "telling"),
    [
        ({"config": {"trian": {}}}, "unknown option 'trian'; did you mean 'train'?"),
        ({"config": {"train": {"epoch": 3}}}, "unknown option 'train.epoch'; did you mean 'train.epochs'?"),
        (
            {"overrides": ["align.mmd.wieght=1"]},
            "unknown option 'align.mmd.wieght'; did you mean 'align.mmd.weight'?",
        ),
        ({"overrides": ["trian.epochs=1"]}, "--set trian.epochs: unknown key 'trian'; did you mean 'train'?"),
        ({"overrides": ["align.coral.weight=1"]}, "'coral' is not selected; --align selects mmd"),
        ({"overrides": ["reg.fisher.weight=1"]}, "'fisher' is not selected; --reg selects none"),
        ({"overrides": ["train=1"]}, "has the form train.option=value"),
        ({"overrides": ["align.weight=1"]}, "has the form align.name.option=value"),
        ({"overrides": ["train.epochs"]}, "write key=value"),
        ({"overrides": ["train.epochs="]}, "write key=value"),
        ({"overrides": ["train.betas=[1, 2"]}, "the value is malformed"),
        (
            {"overrides": ["train.betas=0.7,0.8"]},
            "train.betas must be a list, written [a, b] (got '0.7,0.8')",
        ),
        ({"overrides": ["train.epochs=0"]}, "train.epochs must be greater than or equal to 1 (got '0')"),
        ({"overrides": ["train.epochs=2.5"]}, "train.epochs must be a valid integer"),
        ({"overrides": ["train.schedule=flat"]}, "train.schedule must be 'one-cycle', 'triangle'"),
        ({"overrides": ["train.lr=nan"]}, "train.lr must be a finite number"),
        ({"overrides": ["train.lr=0", "train.epochs=0"]}, "(and 1 more)"),
        ({"overrides": ["train.betas=[0.9, 1.0]"]}, "train: betas must lie in [0, 1)"),
        ({"overrides": ["data.fractions=[0.5, 0.5, 0.5]"]}, "data: fractions must be three positive numbers"),
        ({"overrides": ["seed=-1"]}, "seed must be greater than or equal to 0"),
        ({"selectors": {"align": "mmd,mmd"}}, "align: 'mmd' is named twice"),
        ({"selectors": {"align": ""}}, "align: name at least one alignment"),
        ({"selectors": {"align": 3}}, "align must be names or a table of options, not 3"),
        ({"selectors": {"align": "mmd,./mine.py:mmd"}}, "two loss terms share the name 'mmd'"),
        ({"selectors": {"backbone": 3}}, "backbone must be a table of options, not 3"),
        ({"config": {"align": {"mmd": 3}}}, "align.mmd must be a table of options, not 3"),
        ({"config": {"train": 3}}, "train must be a table of options, not 3"),
        ({"config": {"init": 3}}, "init must be a valid string"),
        ({"config": "absent.toml"}, "there is no configuration file absent.toml"),
        ({"config": "folder"}, "configuration file folder cannot be read"),
        ({"config": "~nobody-of-that-name/a.toml"}, "cannot be read"),
        ({"config": "bad.toml"}, "configuration file bad.toml is malformed"),
        ({"config": "bad.json"}, "configuration file bad.json is malformed"),
        ({"config": "list.json"}, "must hold a table of options, not a list"),
        ({"recipe": "absent.toml"}, "there is no recipe file absent.toml"),
        ({"recipe": "deepmerge"}, "unknown recipe 'deepmerge'; did you mean 'deepmerge-ii'?"),
    ],
)
def test_an_error_says_what_and_which(arguments, telling):
    Path("folder").mkdir()
    Path("bad.toml").write_text("train = [")
    Path("bad.json").write_text("{" + '"a":' * 99_999)
    Path("list.json").write_text("[]")
    Path("mine.py").write_text("from datk_discrepancy.mmd import MMD as mmd")
    with pytest.raises(ConfigError if "recipe 'd" not in telling else DatkError) as caught:
        resolved(**arguments)
    assert telling in str(caught.value)


# --- any input -----------------------------------------------------------------------------------------

NAMES = ["mmd", "none", "datk:mmd", "dann", "fisher", "mlp", "arrays", "./a.py:B", "", "1e999", "[1]", "0.5"]
names = st.sampled_from([*RunConfig.model_fields, *TrainConfig.model_fields, *NAMES]) | st.text(max_size=8)
scalars = st.none() | st.booleans() | st.integers() | st.just(10**400) | st.floats() | names
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)


def table(known):
    """A table with some of the known keys, seldom with another."""
    stranger = st.dictionaries(names, values, min_size=1, max_size=1)
    table = st.fixed_dictionaries({}, optional=known)
    return st.one_of(table, table, table, st.builds(lambda a, b: a | b, table, stranger))


weights = st.floats(0, 9) | st.sampled_from(["1", "0.5", 2]) | scalars
terms = table({"weight": weights, "ramp": st.sampled_from(["linear", "dann", "constant"]) | values})
configs = table(
    {
        "seed": st.integers(0, 2**70) | values,
        "device": st.sampled_from(["cpu", "cuda:7"]) | st.text(),
        "init": st.none() | st.text(),
        "pair": table(
            {"name": st.just("arrays"), "source": st.text(), "classes": st.lists(st.text()) | st.none()}
        ),
        "backbone": table(
            {"name": st.just("mlp"), "hidden": st.lists(st.integers(1, 9), max_size=3) | values}
        ),
        "align": table({"mmd": terms, "datk:coral": terms, "none": terms}) | values,
        "reg": table({"fisher": terms, "entropy": terms})
        | st.sampled_from(["none", "fisher", ["entropy"]])
        | values,
        "data": table({"split_seed": st.none() | st.integers(), "memory_gb": st.floats(0) | scalars}),
        "train": table(
            {"epochs": st.integers(1) | scalars, "lr": weights, "betas": st.lists(st.floats(0, 1))}
        ),
    }
)
quick = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])


def resolves_or_says_why(**arguments):
    """Only two outcomes are allowed; what resolves can be written out and resolves again to the same."""
    try:
        experiment = resolve(**arguments)
    except DatkError:
        return
    assert resolve(config=tomllib.loads(config_toml(experiment))).config == experiment.config
    assert resolve(config=json.loads(experiment.config.model_dump_json())).config == experiment.config


@quick
@given(configs)
def test_any_table_resolves_or_is_refused(config):
    resolves_or_says_why(config=ARRAYS | config)


@quick
@given(
    configs,
    st.lists(st.builds("{}={}".format, st.lists(names, max_size=4).map(".".join), scalars), max_size=2),
)
def test_any_json_file_and_override_resolves_or_is_refused(config, overrides):
    Path("any.json").write_text(json.dumps(ARRAYS | config))
    resolves_or_says_why(config="any.json", overrides=overrides)


@quick
@given(st.text() | st.binary() | st.builds("[{}]\n{} = {}".format, names, names, scalars))
def test_any_file_resolves_or_is_refused(content):
    Path("any.toml").write_bytes(content.encode(errors="replace") if isinstance(content, str) else content)
    resolves_or_says_why(config="any.toml", selectors=ARRAYS)


@quick
@given(
    st.fixed_dictionaries(
        {}, optional=dict.fromkeys(["align", "reg", "backbone", "pair", "device", "seed"], values)
    )
)
def test_any_selectors_resolve_or_are_refused(selectors):
    resolves_or_says_why(selectors=ARRAYS | selectors)


@quick
@given(st.text(max_size=12) | st.from_regex(r"[0-9,\- ]{0,10}", fullmatch=True))
def test_any_seeds_are_read_or_refused(text):
    try:
        seeds = parse_seeds(text)
    except ConfigError:
        return
    assert seeds
    assert len(set(seeds)) == len(seeds)
    assert all(seed >= 0 for seed in seeds)


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("3", [3]), ("0,1,2", [0, 1, 2]), ("0-2", [0, 1, 2]), ("7, 1-2", [7, 1, 2]), (None, None)],
)
def test_seeds(text, seeds):
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "x", "-1", "1.5", "2-1", "1,1", "0-2,1", "0-99999999", "1,,2"])
def test_seeds_that_are_refused(text):
    with pytest.raises(ConfigError, match="--seed"):
        parse_seeds(text)
