"""Suite files: what they may say, how their options are layered, and what the shipped ones hold."""

from pathlib import Path

import pytest

from datk.base.errors import ConfigError, DatkError
from datk.bench.suite import read_suite
from datk.config import plugins
from datk.config.resolve import resolve

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SUITES = sorted(path.name for path in BENCHMARKS.glob("*.toml"))
SMALL = """
title = "Small"
seeds = [0, 1]
metrics = ["accuracy"]
[config.train]
epochs = 3
lr = 0.1
[[table]]
name = "one"
title = "One"
[table.config.train]
lr = 0.2
batch_size = 64
[[table]]
name = "two"
title = "Two"
[[cell]]
name = "none"
config = { align = "none", train = { batch_size = 32 } }
[[cell]]
name = "mmd"
table = "two"
title = "MMD"
init = "one/none"
recipe = "deepmerge-ii"
reference.paper = { target = { accuracy = 0.5 }, impossible = ["target.accuracy"] }
"""


def written(text):
    Path("suite.toml").write_text(text)
    return read_suite("suite.toml")


@pytest.mark.parametrize(("count", "seeds"), [(1, (3,)), (2, (3, 7)), (4, (3, 7, 8, 9))])
def test_fewer_or_more_seeds_than_the_suite_has(count, seeds):
    suite, _ = written(SMALL.replace("seeds = [0, 1]", "seeds = [3, 7]"))
    assert suite.first_seeds(count) == seeds


def test_cells_stand_in_their_tables():
    suite, entries = written(SMALL)
    assert [entry.key for entry in entries] == ["one/none", "two/none", "two/mmd"]
    assert [entry.title for entry in entries] == ["none", "none", "MMD"]
    assert suite.seeds == (0, 1)
    assert entries[2].cell.reference["paper"].target == {"accuracy": 0.5}


def test_a_cell_lies_over_its_table_over_the_suite_over_the_recipe():
    _, entries = written(SMALL)
    one, two, mmd = (entry.experiment(5).config for entry in entries)
    assert (one.train.epochs, one.train.lr, one.train.batch_size) == (3, 0.2, 32)
    assert (two.train.epochs, two.train.lr, two.train.batch_size) == (3, 0.1, 32)
    assert (mmd.train.epochs, mmd.train.schedule, list(mmd.align)) == (3, "triangle", ["datk:mmd"])
    assert (one.seed, one.init, mmd.init) == (5, None, "one/none")


def test_a_layer_that_names_components_replaces_those_below_it():
    text = SMALL.replace("lr = 0.1\n", "lr = 0.1\n[config.align.coral]\nweight = 2.0\n")
    text = text.replace(
        'title = "One"\n', 'title = "One"\nconfig.pair = { name = "mock-mergers", images = 80 }\n'
    )
    text = text.replace("[table.config.train]\nlr = 0.2\nbatch_size = 64\n", "")
    text = text.replace(
        'config = { align = "none", train', 'config = { pair = "arrays", align = "none", train'
    )
    _, entries = written(text)
    config = entries[0].experiment(0).config
    assert list(config.align) == ["datk:none"]
    assert config.pair["name"] == "datk:arrays"
    assert "images" not in config.pair


@pytest.mark.parametrize("where", ["suite", "override"])
def test_seeds_are_those_of_the_suite(where):
    _, entries = written(
        SMALL.replace("[config.train]", "[config]\nseed = 7\n[config.train]") if where == "suite" else SMALL
    )
    with pytest.raises(ConfigError, match=r"one/none: seed is not an option here"):
        entries[0].experiment(0, overrides=["seed=7"] if where == "override" else [])


def test_epochs_and_overrides_lie_over_all():
    _, entries = written(SMALL)
    config = entries[0].experiment(0, epochs=1, overrides=["train.lr=0.3", "backbone.name=mlp"]).config
    assert (config.train.epochs, config.train.lr, config.backbone["name"]) == (1, 0.3, "datk:mlp")


@pytest.mark.parametrize(
    ("old", "new", "telling"),
    [
        ('title = "Small"\n', "", "option 'title' must be given"),
        ('title = "Small"', 'titel = "Small"', "unknown option 'titel'; did you mean 'title'?"),
        ("seeds = [0, 1]", "seeds = [0, 0]", r"seeds must be distinct and not negative, not \[0, 0\]"),
        ("seeds = [0, 1]", "seeds = [-1]", "seeds must be distinct and not negative"),
        ("seeds = [0, 1]", "seeds = []", "seeds"),
        (
            'metrics = ["accuracy"]',
            'metrics = ["acuracy"]',
            "unknown metric 'acuracy'; did you mean 'accuracy'",
        ),
        ("{ accuracy = 0.5 }", "{ F1 = 0.5 }", "unknown metric 'F1'"),
        ('"target.accuracy"', '"accuracy"', "must be source.metric or target.metric"),
        ('name = "two"\n', 'name = "one"\n', "two tables are called 'one'"),
        ('table = "two"', 'table = "tow"', "cell 'mmd' stands in no table: tow; did you mean 'two'?"),
        ('name = "mmd"', 'name = "none"', "two cells are called 'two/none'"),
        ('name = "mmd"', 'name = "../mmd"', r"cell.1.name"),
        (
            'init = "one/none"',
            'init = "two/mmd"',
            "two/mmd starts from 'two/mmd', which is no cell before it",
        ),
        ('init = "one/none"', 'init = "one/non"', "did you mean 'one/none'"),
        ("[[table]]", "[[table", "is malformed"),
        ("[[cell]]", "[[sell]]", "unknown option 'sell'"),
    ],
)
def test_what_is_wrong_is_named(old, new, telling):
    assert old in SMALL
    with pytest.raises(ConfigError, match=telling):
        written(SMALL.replace(old, new))


def test_a_wrong_option_names_the_cell():
    _, entries = written(SMALL.replace("batch_size = 32", "batch_sise = 32"))
    with pytest.raises(ConfigError, match=r"one/none: unknown option 'train.batch_sise'"):
        entries[0].experiment(0)


@pytest.mark.parametrize(
    ("reference", "telling"),
    [("absent.toml", "there is no suite file absent.toml"), ("deepmerge-2", "did you mean 'deepmerge-ii'")],
)
def test_a_suite_that_is_not_there(reference, telling):
    with pytest.raises(DatkError, match=telling):
        read_suite(reference)


# --- shipped suites and recipes -------------------------------------------------------------------------


def test_the_papers_suite_is_installed_and_stands_with_the_benchmarks():
    assert {"deepmerge-ii.toml", "frdeep.toml", "mock-mergers.toml", "sdss.toml"} <= set(SUITES)
    by_name, by_path = read_suite("deepmerge-ii"), read_suite(str(BENCHMARKS / "deepmerge-ii.toml"))
    assert by_name == by_path


@pytest.mark.parametrize("file", SUITES)
@pytest.mark.parametrize("backbone", ["deepmerge", "resnet18"])
def test_every_shipped_experiment_can_be_resolved(file, backbone):
    suite, entries = read_suite(str(BENCHMARKS / file))
    for entry in entries:
        config = entry.experiment(suite.seeds[0], overrides=[f"backbone.name={backbone}"]).config
        assert config.backbone["name"] == f"datk:{backbone}"


def test_references_are_marked_where_they_contradict_themselves():
    _, entries = read_suite("deepmerge-ii")
    by_key = {entry.key: entry.cell.reference for entry in entries}
    paper = by_key["simsim/none"]["paper"]
    assert (paper.target["accuracy"], paper.target["precision"], paper.target["recall"]) == (0.58, 0.99, 0.08)
    assert "target.accuracy" in paper.impossible
    assert by_key["simsim/dann"]["paper"].impossible == ("source.f1",)
    assert by_key["simreal/dann"] == {}
    for reference in by_key.values():
        if "reproduction" in reference:
            numbers = reference["reproduction"]
            assert numbers.target["brier"] == pytest.approx(1 - numbers.target["accuracy"], abs=0.0101)
            assert numbers.impossible == ("source.brier", "target.brier")


def test_published_numbers_that_contradict_themselves_are_the_marked_ones():
    """F1 follows from precision and recall, all rounded to two decimals."""
    _, entries = read_suite("deepmerge-ii")
    for entry in entries:
        for reference in entry.cell.reference.values():
            for domain in ("source", "target"):
                numbers = getattr(reference, domain)
                p, r = numbers["precision"], numbers["recall"]
                lowest = 2 * (p - 0.005) * (r - 0.005) / (p + r - 0.01)
                highest = 2 * (p + 0.005) * (r + 0.005) / (p + r + 0.01)
                possible = lowest - 0.005 <= numbers["f1"] <= highest + 0.005
                assert possible or f"{domain}.f1" in reference.impossible, entry.key


PAPER = {
    # recipe: lr, weight decay, cycle, amsgrad, alignment, regularizers
    "simsim-none": (1e-3, 0.01, 8, False, "none", []),
    "simsim-mmd": (1e-3, 1e-4, 5, True, "mmd", []),
    "simsim-mmd-fisher-entropy": (1e-3, 1e-4, 5, True, "mmd", ["fisher", "entropy"]),
    "simsim-dann": (1e-3, 1e-4, 8, False, "dann", []),
    "simsim-dann-fisher-entropy": (1e-3, 1e-4, 8, False, "dann", ["fisher", "entropy"]),
    "simreal-none": (1e-3, 0.01, 8, False, "none", []),
    "simreal-mmd": (1e-4, 1e-4, 2, True, "mmd", []),
    "simreal-transfer-mmd": (1e-4, 1e-4, 2, True, "mmd", []),
    "simreal-dann": (1e-3, 1e-4, 8, False, "dann", []),
}


@pytest.mark.parametrize("recipe", PAPER)
@pytest.mark.parametrize("backbone", ["deepmerge", "resnet18"])
def test_recipes_hold_the_papers_values(recipe, backbone):
    selectors = {"backbone": backbone, "init": "a run" if "transfer" in recipe else None}
    experiment = resolve(recipe=recipe, selectors=selectors)
    config, train = experiment.config, experiment.config.train
    (align,), reg = experiment.align, [chosen.label for chosen in experiment.reg]
    found = (train.lr, train.weight_decay, train.cycle_length, train.amsgrad, align.label, reg)
    assert found == PAPER[recipe]
    assert (train.epochs, train.batch_size, train.patience, train.schedule) == (200, 128, 0, "triangle")
    assert (train.betas, train.select) == ((0.7, 0.8), {"name": "datk:source-validation-accuracy"})
    pair = {"simsim": "illustris-simsim", "simreal": "illustris-sdss"}[recipe.split("-")[0]]
    assert config.pair["name"] == f"datk:{pair}"
    assert {name.partition(":")[0] for name in (*config.align, *config.reg)} == {"datk"}
    assert (config.split, config.data.split_seed) == ("stratified", "run")


def test_regularizers_have_the_papers_weights():
    mmd, dann = (resolve(recipe=f"simsim-{name}-fisher-entropy").config for name in ("mmd", "dann"))
    weights = [
        (c.reg["datk:fisher"]["within"], c.reg["datk:fisher"]["between"], c.reg["datk:entropy"]["weight"])
        for c in (mmd, dann)
    ]
    assert weights == [(0.01, 1.0, 0.05), (1e-4, 1.0, 1e-4)]
    assert dann.align["datk:dann"]["lr_mult"] == 0.01


def test_transfer_needs_a_run_to_start_from():
    with pytest.raises(ConfigError, match="name it by --init"):
        resolve(recipe="simreal-transfer-mmd")
    assert (
        resolve(recipe="simreal-transfer-mmd", selectors={"init": "x"}).config.init_normalization
        == "inherited"
    )


def test_recipes_and_suites_are_listed_with_their_summaries():
    for kind in plugins.FILES:
        assert all(plugin.summary for plugin in plugins.find(kind))
    assert {*PAPER, "deepmerge-ii"} == {plugin.name for plugin in plugins.find("recipe")}
