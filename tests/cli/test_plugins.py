"""`datk plugins`: how options are set, what components do not keep, which of them cannot be checked."""

from pathlib import Path

import pytest

from datk.config import plugins

FAULTY = """
from datk.interfaces import AlignmentLoss

class Faulty(AlignmentLoss):
    \"\"\"A loss that fails.\"\"\"

    def forward(self, source, target, step):
        raise ZeroDivisionError("in the loss")
"""


SELECTOR = """
from datk.interfaces import ComponentConfig, Selector

class Margin(Selector):
    \"\"\"A margin.\"\"\"

    class Config(ComponentConfig):
        margin: float = 0.5

    def score(self, source, target):
        return 0.0
"""


@pytest.mark.parametrize(
    ("name", "key"),
    [("coral", "align.coral.weight"), ("fisher", "reg.fisher.weight"), ("mlp", "backbone.hidden")],
)
def test_show_says_how_an_option_is_set(datk, name, key):
    assert f"set an option with --set {key}=value\n" in datk("plugins", "show", name).out


def test_show_says_how_an_option_of_a_selector_is_set(datk):
    Path("m.py").write_text(SELECTOR)
    shown = " ".join(datk("plugins", "show", "./m.py:Margin").out.split())
    assert f"""--set 'train.select={{name = "{Path("m.py").resolve()}:Margin", margin = value}}'""" in shown
    setting = """train.select={name = "./m.py:Margin", margin = 2}"""
    assert "margin = 2.0" in datk("config", "show", "--set", setting).out


@pytest.fixture
def dists(install):
    """An alignment `broken` that cannot be imported, and one `gap` that is MMD under another name."""
    install("bad-dist", {"datk.alignments": {"broken": "bad_loss:Loss"}}, bad_loss="import nothing_there")
    install("good-dist", {"datk.alignments": {"gap": "datk_discrepancy.mmd:MMD"}})


def test_check_names_what_a_component_does_not_keep(datk):
    Path("faulty.py").write_text(FAULTY)
    outcome = datk("plugins", "check", "mmd", "./faulty.py:Faulty")
    assert outcome.code == 2
    (fault,) = (line for line in outcome.out.splitlines() if "FAIL" in line)
    assert "ZeroDivisionError" in fault
    assert fault.endswith(": in the loss")
    assert outcome.err == "error: 1 of 2 components do not keep the interface\n"


def test_check_without_names_takes_all_that_can_be_imported(datk, dists, monkeypatch):
    checked = []

    def check(cls):
        checked.append(cls)
        yield "is looked at", None

    monkeypatch.setattr("datk.testing.check", check)
    outcome = datk("plugins", "check")
    assert outcome.code == 0, outcome.err
    installed = [plugin for kind in plugins.COMPONENTS for plugin in plugins.find(kind)]
    headings = [f"{plugin.kind} {plugin.name} ({plugin.dist})" for plugin in installed]
    assert "alignment gap (good-dist)" in headings
    shown = outcome.out.splitlines()
    assert shown[::2] == [heading for heading in headings if "bad-dist" not in heading]
    assert set(shown[1::2]) == {"  ok    is looked at"}
    assert len(checked) == len(installed) - 1
    assert outcome.err.count("\n") == 1
    assert "warning: alignment 'broken' of distribution bad-dist cannot be loaded" in outcome.err


def test_check_of_several_checks_those_that_it_can(datk, dists):
    Path("faulty.py").write_text(FAULTY)
    names = ["none", "broken", "mdm", "./absent.py:Loss", "gap", "./faulty.py:Faulty", "./faulty.py:Other"]
    outcome = datk("plugins", "check", *names)
    assert outcome.code == 2
    for heading in ("alignment none (datk)", "alignment gap (good-dist)", "alignment Faulty"):
        assert heading in outcome.out
    assert outcome.out.count("ok    has a docstring") == 3
    faults = outcome.err.splitlines()
    assert all(fault.startswith("error: ") for fault in faults)
    for fault, telling in zip(
        faults,
        [
            "unknown component 'mdm'; did you mean 'mmd'?",
            "there is no file ./absent.py",
            "there is no 'Other' in it; known: Faulty",
            "alignment 'broken' of distribution bad-dist cannot be loaded: ModuleNotFoundError",
            "1 of 3 components do not keep the interface",
        ],
        strict=True,
    ):
        assert telling in fault


def test_check_of_a_name_that_stands_for_nothing_is_one_error(datk, dists):
    outcome = datk("plugins", "check", "broken", "none")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert outcome.err.startswith("error: alignment 'broken' of distribution bad-dist cannot be loaded")
    assert "alignment none (datk)" in outcome.out
    assert "FAIL" not in outcome.out
    outcome = datk("plugins", "check", "broken")
    assert (outcome.code, outcome.out) == (2, "")
