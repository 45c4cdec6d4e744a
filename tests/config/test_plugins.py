"""Components are found by metadata, loaded one by one, and told apart; none breaks another."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from datk.base.errors import PluginError
from datk.bench.suite import read_suite
from datk.config import plugins

LOSS = '''
from datk.interfaces import AlignmentLoss, TermConfig
from pydantic import Field

class Options(TermConfig):
    """Options."""

    power: float = Field(2.0, gt=0)
    """Exponent of the distance."""

class Gap(AlignmentLoss):
    """Distance of the domains' means.

    Reference: nobody 1900.
    """

    Config = Options
    over_batch = True

    def forward(self, source, target, step):
        return (source.features.mean(0) - target.features.mean(0)).abs().pow(self.config.power).mean()
'''


@pytest.fixture
def gap(tmp_path):
    """Reference of a loss in a file below the current folder."""
    (tmp_path / "gap.py").write_text(LOSS)
    return "./gap.py:Gap"


@pytest.fixture
def other_mmd(install):
    """A distribution that has a loss `mmd`, too."""
    return install("other-dist", {"datk.alignments": {"mmd": "other_loss:Gap"}}, other_loss=LOSS)


def resolved(outcome):
    assert outcome.code == 0, outcome.err
    return outcome.out


# --- finding is not loading ----------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [["--help"], ["plugins"], ["run", "--help"], ["--version"]])
def test_listing_imports_nothing_heavy_and_no_component(arguments):
    script = (
        "import sys\nfrom datk.cli.main import main\ntry:\n    main(sys.argv[1:])\nfinally:\n"
        "    print(*sorted(sys.modules), file=sys.stderr)"
    )
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True
    )
    assert time.perf_counter() - start < 3
    modules = set(done.stderr.split())
    assert "datk.config.plugins" in modules
    packages = {name.partition(".")[0] for name in modules}
    assert not packages & {
        "torch",
        "torchvision",
        "sklearn",
        "scipy",
        "h5py",
        "numpy",
        "pydantic",
        "safetensors",
    }
    assert not [name for name in packages if name.startswith("datk_")]


def test_the_list_names_every_kind_with_summary_and_distribution(datk):
    shown = resolved(datk("plugins"))
    assert max(map(len, shown.splitlines())) <= 80
    kind, rows = "", {}
    for words in (line.split() for line in shown.splitlines()[3:]):
        kind = words.pop(0) if words[:1] and words[0] in plugins.KINDS else kind
        if words[-1:] == ["datk"]:  # the first line of an entry
            rows.setdefault((kind, words[0]), words)
    for entry in [
        ("backbone", "deepmerge"),
        ("alignment", "coral"),
        ("regularizer", "entropy"),
        ("pair", "arrays"),
        ("selector", "oracle"),
        ("task", "regression"),
        ("recipe", "deepmerge-ii"),
        ("suite", "deepmerge-ii"),
    ]:
        assert len(rows[entry]) > 3, "a summary stands between name and distribution"


def test_a_summary_is_read_from_source_text(install):
    install("dist", {"datk.alignments": {"gap": "lazy_loss:Gap"}}, lazy_loss="raise RuntimeError\n" + LOSS)
    (found,) = plugins.matching("alignment", "gap")
    assert found.summary == "Distance of the domains' means."
    assert "lazy_loss" not in sys.modules


@pytest.mark.parametrize(
    "value", ["absent:Gap", "broken_text:Gap", "pkg.absent:Gap", ":", "", "json:absent", "a b:[x"]
)
def test_entry_points_that_lead_nowhere_are_listed_without_summary(install, datk, value):
    install("dist", {"datk.alignments": {"gap": value}}, broken_text="class Gap(:")
    (found,) = plugins.matching("alignment", "gap")
    assert found.summary == ""
    assert "gap" in resolved(datk("plugins"))


# --- names ---------------------------------------------------------------------------------------------


def test_show_prints_docstring_reference_and_options(datk):
    shown = resolved(datk("plugins", "show", "mmd"))
    assert max(map(len, shown.splitlines())) <= 80
    assert "Maximum mean discrepancy" in shown
    assert "Reference: Gretton et al. 2012" in shown
    lines = [line.split() for line in shown.splitlines()]
    assert ["option", "type", "default", "meaning"] in lines
    weight = next(words for words in lines if words[:1] == ["weight"])
    assert weight[1:5] == ["float", "≥", "0", "1.0"]
    assert "Factor with which this" in shown
    assert any(words[:5] == ["bandwidth", "fixed", "|", "median", '"median"'] for words in lines)
    assert "--set align.mmd.weight=value" in shown


def test_show_prints_the_text_of_a_recipe(datk):
    shown = resolved(datk("plugins", "show", "deepmerge-ii"))
    assert plugins.resolve("recipe", "deepmerge-ii").summary in shown
    assert "\nschedule = " in shown


@pytest.mark.parametrize(
    "arguments", [["plugins", "show"], ["run", "--pair", "arrays", "--align"], ["plugins", "check"]]
)
@pytest.mark.parametrize(
    ("name", "suggested"),
    [("mdm", "'mmd'"), ("datk:mdm", "'datk:mmd'"), ("foo:dann", "datk:dann"), (":mmd", "datk:mmd")],
)
def test_an_unknown_name_gets_a_suggestion(datk, arguments, name, suggested):
    outcome = datk(*arguments, name)
    assert outcome.code == 2
    assert f"'{name}'" in outcome.err
    assert suggested in outcome.err


def test_a_name_unlike_any_other_lists_them(datk):
    outcome = datk("run", "--pair", "xyzzy")
    assert "known: arrays, illustris-sdss, illustris-simsim, mock-mergers" in outcome.err


def test_a_clash_is_an_error_that_names_the_choices(datk, other_mmd):
    for arguments in (
        ["run", "--pair", "arrays", "--align", "mmd"],
        ["plugins", "show", "mmd"],
        ["plugins", "check", "mmd"],
    ):
        outcome = datk(*arguments)
        assert outcome.code == 2
        assert "datk:mmd or other-dist:mmd" in outcome.err


def test_a_strangers_component_of_a_shipped_name_breaks_nobody(install, tiny_pair, datk):
    """Defaults, recipes and suites name what is shipped in full."""
    for kind, entry in (("alignment", "mmd"), ("pair", "mock-mergers"), ("backbone", "deepmerge")):
        install(f"other-{kind}", {plugins.GROUPS[kind]: {entry: "other_loss:Gap"}}, other_loss=LOSS)
    for kind in ("selector", "task", "regularizer"):
        install(f"other-{kind}", {plugins.GROUPS[kind]: {p.name: "x:X" for p in plugins.find(kind)}})
    assert '[align."datk:mmd"]' in resolved(datk("config", "show"))
    for recipe in plugins.find("recipe"):
        more = ["--init", "run"] if "transfer" in recipe.name else []
        resolved(datk("config", "show", "--recipe", recipe.name, *more))
    for suite in plugins.find("suite"):
        _, entries = read_suite(suite.name)
        assert all(entry.experiment(0).config.align for entry in entries)
    resolved(datk("run", *tiny_pair, "--out", "run"))


def test_a_qualified_name_works_wherever_a_name_does(datk, other_mmd, tiny_pair, tmp_path):
    assert "Distance of the domains' means" in resolved(datk("plugins", "show", "other-dist:mmd"))
    assert "Maximum mean" in resolved(datk("plugins", "show", "datk:mmd"))
    assert "FAIL" not in resolved(datk("plugins", "check", "Other_Dist:mmd"))

    chosen = [
        "--align",
        "other-dist:mmd",
        "--set",
        "align.mmd.power=1",
        "--set",
        "align.other-dist:mmd.weight=0.5",
    ]
    resolved(datk("run", *tiny_pair, *chosen, "--out", "run"))
    recorded = json.loads(Path("run/config.json").read_text())
    assert recorded["align"] == {"other-dist:mmd": {"weight": 0.5, "ramp": "constant", "power": 1.0}}
    resolved(datk("run", "--config", "run/config.json", "--out", "again"))
    results = [json.loads(Path(folder, "result.json").read_text()) for folder in ("run", "again")]
    assert results[0]["weights_sha256"] == results[1]["weights_sha256"]
    assert results[0]["align"] == "mmd"

    shown = resolved(
        datk("config", "show", "--pair", "datk:arrays", "--backbone", "DATK:mlp", "--align", "none")
    )
    assert 'name = "datk:arrays"' in shown
    assert 'name = "datk:mlp"' in shown
    Path("config.toml").write_text('[align."datk:mmd"]\nweight = 3\n')
    assert '[align."datk:mmd"]' in resolved(datk("config", "show", *tiny_pair, "--config", "config.toml"))


def test_discovery_can_be_limited_to_distributions(datk, other_mmd, monkeypatch):
    monkeypatch.setenv("DATK_PLUGINS", "datk")
    assert [plugin.dist for plugin in plugins.matching("alignment", "mmd")] == ["datk"]
    monkeypatch.setenv("DATK_PLUGINS", "Other_Dist, absent")
    assert [plugin.dist for plugin in plugins.find("alignment")] == ["other-dist"]
    assert plugins.find("backbone") == []
    outcome = datk("plugins", "show", "coral")
    assert outcome.code == 2
    assert "DATK_PLUGINS=Other_Dist, absent" in outcome.err


# --- files ---------------------------------------------------------------------------------------------


def test_a_file_works_wherever_a_name_does(datk, gap, tiny_pair):
    shown = resolved(datk("plugins", "show", gap))
    assert "alignment Gap" in shown
    assert "--set align.Gap.weight=value" in shown
    assert "FAIL" not in resolved(datk("plugins", "check", gap))

    resolved(datk("run", *tiny_pair, "--align", gap, "--set", "align.Gap.power=1", "--out", "run"))
    recorded = json.loads(Path("run/config.json").read_text())
    assert recorded["align"] == {
        f"{Path('gap.py').resolve()}:Gap": {"weight": 1.0, "ramp": "constant", "power": 1.0}
    }
    assert json.loads(Path("run/result.json").read_text())["align"] == "Gap"

    Path("config.toml").write_text(f'[align."{gap}"]\npower = 3\n')
    assert "power = 3.0" in resolved(datk("config", "show", *tiny_pair, "--config", "config.toml"))


@pytest.mark.parametrize(
    ("reference", "telling"),
    [
        ("./absent.py:Gap", "there is no file ./absent.py"),
        ("./gap.py", "path/to/file.py:Class"),
        ("./gap.py:", "path/to/file.py:Class"),
        ("./gap.py:1", "path/to/file.py:Class"),
        ("./gap.py:Gapp", "did you mean 'Gap'?"),
        ("./gap.py:Options", "AlignmentLoss"),
        ("./folder.py:Gap", "there is no file"),
        ("~nobody-of-that-name/gap.py:Gap", "there is no file"),
        ("./broken.py:Gap", "SyntaxError"),
        ("./leaves.py:Gap", "SystemExit"),
    ],
)
@pytest.mark.parametrize(
    "arguments", [["run", "--pair", "arrays", "--align"], ["plugins", "show"], ["plugins", "check"]]
)
def test_a_file_that_cannot_be_used_is_an_error(datk, gap, arguments, reference, telling):
    Path("folder.py").mkdir()
    Path("broken.py").write_text("class Gap(:")
    Path("leaves.py").write_text("raise SystemExit('bye')")
    outcome = datk(*arguments, reference)
    assert outcome.code == 2
    assert telling in outcome.err
    assert reference.partition(":")[0].removeprefix("./") in outcome.err


# --- a broken plugin -----------------------------------------------------------------------------------


@pytest.fixture
def broken(install):
    return install(
        "bad-dist", {"datk.alignments": {"broken": "bad_loss:Gap"}}, bad_loss="import nothing_there"
    )


def test_a_plugin_that_cannot_be_imported_breaks_no_other(datk, broken, tiny_pair):
    assert "broken" in resolved(datk("plugins"))
    resolved(datk("plugins", "show", "mmd"))
    resolved(datk("run", *tiny_pair, "--out", "run"))


def test_a_plugin_that_cannot_be_imported_is_an_error_where_it_is_named(datk, broken):
    outcome = datk("run", "--pair", "arrays", "--align", "broken")
    assert outcome.code == 2
    assert "alignment 'broken' of distribution bad-dist" in outcome.err
    assert "nothing_there" in outcome.err


def test_a_plugin_that_cannot_be_imported_is_a_warning_where_all_are_asked_for(broken):
    with pytest.warns(UserWarning, match="alignment 'broken' of distribution bad-dist .*nothing_there"):
        loaded = [plugin.name for plugin, _ in plugins.load_all("alignment")]
    assert "mmd" in loaded
    assert "broken" not in loaded


@pytest.mark.parametrize("target", ["json:loads", "json", "datk_regularizers.fisher:Fisher"])
def test_a_component_of_another_kind_is_an_error(datk, install, target):
    install("dist", {"datk.alignments": {"odd": target}})
    for command in ("run --pair arrays --align odd", "plugins show odd", "plugins check odd"):
        outcome = datk(*command.split())
        assert outcome.code == 2
        assert "alignment 'odd' of distribution dist" in outcome.err
        assert "AlignmentLoss" in outcome.err


def test_a_half_removed_distribution_does_not_matter(install, datk):
    site = install("gone", {"datk.alignments": {"gap": "gone:Gap"}})
    (site / "gone-1.0.dist-info" / "METADATA").unlink()
    assert "unknown" in resolved(datk("plugins"))


def test_loading_runs_a_file_once(tmp_path):
    (tmp_path / "counts.py").write_text(
        "import os\nos.environ['LOADS'] = os.environ.get('LOADS', '') + '+'\nclass A: ...\n"
    )
    found = plugins.resolve("alignment", "counts.py:A")
    assert plugins.load(found) is plugins.load(found)
    assert os.environ.pop("LOADS") == "+"


def test_a_file_that_failed_is_tried_again(tmp_path):
    (tmp_path / "late.py").write_text("import nothing_there")
    found = plugins.resolve("alignment", "late.py:A")
    with pytest.raises(PluginError, match="nothing_there"):
        plugins.load(found)
    (tmp_path / "late.py").write_text("class A: ...")
    assert plugins.load(found).__name__ == "A"


# --- recipes -------------------------------------------------------------------------------------------


def test_recipes_of_another_distribution(install, datk, tiny_pair):
    site = install("other-dist", {"datk.recipes": {"any": "recipe_folder.inner"}})
    folder = site / "recipe_folder" / "inner"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").write_text("raise RuntimeError('a recipe needs no import')")
    (folder / "brief.toml").write_text("# Two epochs.\n[train]\nepochs = 2\n")
    (folder / "deepmerge-ii.toml").write_text("train = {epochs = 3}\n")
    (folder / "odd.toml").write_bytes(b"\xff\xfe")
    assert "Two epochs." in resolved(datk("plugins"))
    selection = [argument for argument in tiny_pair if argument not in ("--epochs", "1")]
    assert "epochs = 2\n" in resolved(datk("config", "show", *selection, "--recipe", "brief"))
    assert "epochs = 3\n" in resolved(
        datk("config", "show", *selection, "--recipe", "other-dist:deepmerge-ii")
    )
    outcome = datk("config", "show", "--recipe", "deepmerge-ii")
    assert outcome.code == 2
    assert "datk:deepmerge-ii or other-dist:deepmerge-ii" in outcome.err
    outcome = datk("config", "show", "--recipe", "odd")
    assert outcome.code == 2
    assert "odd.toml" in outcome.err
