"""The code on the pages of docs/ runs as it stands there."""

import re
from pathlib import Path

import datk
from datk.bench.suite import read_suite

DOCS = Path(__file__).parents[1] / "docs"
CODE = re.findall(r"```python\n(.*?)```", (DOCS / "plugins.md").read_text(), flags=re.DOTALL)


def test_the_components_of_the_plugin_page_conform_and_run_together():
    Path("page.py").write_text("\n".join(CODE))  # importing it runs the page's own checks
    result = datk.run(
        pair="./page.py:Rotated",
        backbone="./page.py:Linear",
        align="./page.py:HeadAgainstTrunk",
        reg="./page.py:LargeNorm",
        set={"reg.LargeNorm.radius": 3.0, "pair.degrees": 20.0},
        epochs=2,
    )
    assert (result.pair, result.align, result.reg) == ("Rotated", "HeadAgainstTrunk", ["LargeNorm"])


def test_the_suite_on_the_page_of_suites_is_valid():
    (text,) = re.findall(r"```toml\n(.*?)```", (DOCS / "benchmarks.md").read_text(), flags=re.DOTALL)
    Path("mine.toml").write_text(text)
    suite, entries = read_suite("mine.toml")
    assert [entry.key for entry in entries] == ["telescopes/none", "telescopes/mmd"]
    configs = [entry.experiment(suite.seeds[0]).config for entry in entries]
    assert [list(config.align) for config in configs] == [["datk:none"], ["datk:mmd"]]
    assert {config.train.epochs for config in configs} == {30}


def test_every_module_stands_in_the_design():
    design = (DOCS / "design.md").read_text()
    root = DOCS.parent / "datk"
    modules = {str(path.relative_to(root)) for path in root.glob("*.py")} - {"__init__.py", "__main__.py"}
    packages = {f"{path.parent.name}/" for path in root.glob("*/__init__.py")}
    missing = sorted(name for name in modules | packages if f"`{name}`" not in design)
    assert missing == []
