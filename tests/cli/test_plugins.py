"""`datk plugins check`: what components do not keep, and which of them cannot be checked."""

from pathlib import Path

import pytest

FAULTY = """
from datk.interfaces import AlignmentLoss

class Faulty(AlignmentLoss):
    def forward(self, source, target, step):
        raise ZeroDivisionError("in the loss")
"""


@pytest.fixture
def dists(install):
    """An alignment `broken` that cannot be imported, and one `gap` that is MMD under another name."""
    install("bad-dist", {"datk.alignments": {"broken": "bad_loss:Loss"}}, bad_loss="import nothing_there")
    install("good-dist", {"datk.alignments": {"gap": "datk_discrepancy.mmd:MMD"}})


def test_check_names_what_a_component_does_not_keep(datk):
    Path("faulty.py").write_text(FAULTY)
    outcome = datk("plugins", "check", "mmd", "./faulty.py:Faulty")
    assert outcome.code == 2
    assert "FAIL  runs without an exception: ZeroDivisionError: in the loss" in outcome.out
    assert outcome.err == "error: 1 of 2 components do not keep the interface\n"


def test_check_without_names_takes_all_that_can_be_imported(datk, dists, monkeypatch):
    monkeypatch.setenv("DATK_PLUGINS", "bad-dist,good-dist")
    outcome = datk("plugins", "check")
    assert outcome.code == 0, outcome.err
    assert "alignment gap (good-dist)" in outcome.out
    assert "warning: alignment 'broken' of distribution bad-dist cannot be loaded" in outcome.err


def test_check_of_several_checks_those_that_it_can(datk, dists):
    Path("faulty.py").write_text(FAULTY)
    names = ["none", "broken", "mdm", "./absent.py:Loss", "gap", "./faulty.py:Faulty", "./faulty.py:Other"]
    outcome = datk("plugins", "check", *names)
    assert outcome.code == 2
    for heading in ("alignment none (datk)", "alignment gap (good-dist)", "alignment Faulty"):
        assert heading in outcome.out
    assert "ok    gives a 0-d float32 tensor" in outcome.out
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
