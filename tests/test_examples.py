"""The examples run as they stand."""

import importlib.util
from pathlib import Path

import pytest

import datk
from datk.config import plugins
from datk.testing import assert_conforms

EXAMPLES = Path(__file__).parents[1] / "examples"
ENERGY = f"{EXAMPLES / 'datk-energy' / 'datk_energy.py'}:Energy"


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_own_data(tmp_path):
    result = load(EXAMPLES / "own_data.py").main(tmp_path, epochs=1)
    assert result.metrics["target"]["test"]["n"] == 400
    assert datk.read_result(tmp_path / "run") == result


def test_the_energy_alignment_conforms():
    assert_conforms(plugins.load(plugins.resolve("alignment", ENERGY)))


def test_the_entry_point_of_the_example_distribution_names_its_class():
    import tomllib

    project = tomllib.loads((EXAMPLES / "datk-energy" / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["datk.alignments"] == {"energy": "datk_energy:Energy"}


@pytest.mark.parametrize("exponent", [0.5, 1.5])
def test_the_energy_distance_against_its_definition(exponent):
    import numpy as np

    from datk.testing import views

    cls = plugins.load(plugins.resolve("alignment", ENERGY))
    source, target = views()
    s, t = (view.features.detach().double().numpy() for view in (source, target))

    def mean_distance(a, b):
        return np.mean([[np.linalg.norm(p - q) ** exponent for q in b] for p in a])

    expected = 2 * mean_distance(s, t) - mean_distance(s, s) - mean_distance(t, t)
    value = cls(cls.Config(exponent=exponent), None)(source, target, None)
    assert value.item() == pytest.approx(expected, abs=1e-2)
