"""`datk data audit`: table, JSON, exit codes; the known faults of a real data set."""

import json

import numpy as np
import pytest


@pytest.fixture
def audit(datk, tmp_path, tiny_arrays):
    """Audits the tiny arrays after some were replaced."""

    def call(*arguments, **changes):
        arrays = tiny_arrays | changes
        np.savez(tmp_path / "tiny.npz", **arrays)
        options = [f"pair.{domain}={tmp_path / 'tiny.npz'}" for domain in ("source", "target")]
        options += [f"pair.{key}={key}" for key in arrays]
        return datk("data", "audit", "arrays", *(f"--set={option}" for option in options), *arguments)

    return call


def test_a_table_and_exit_code_0(audit, tiny_arrays):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 255, (2, 60, 3, 16, 16), dtype=np.uint8)
    outcome = audit(source_x=x[0], target_x=x[1])
    assert outcome.code == 0
    assert outcome.err == ""
    assert "duplicates" in outcome.out
    assert "0 high" in outcome.out
    assert "target labels were not looked at" in outcome.out
    assert max(map(len, outcome.out.splitlines())) <= 80


def test_a_high_finding_and_exit_code_1(audit, tiny_arrays):
    x = tiny_arrays["source_x"].copy()
    x[1] = x[0]
    outcome = audit(source_x=x)
    assert outcome.code == 1
    assert "0=1" in outcome.out


def test_json(audit, tiny_arrays):
    x = tiny_arrays["source_x"].copy()
    x[1] = x[0]
    outcome = audit("--json", source_x=x)
    report = json.loads(outcome.out)
    assert outcome.code == 1
    assert report["pair"] == "arrays"
    high = [finding for finding in report["findings"] if finding["severity"] == "high"]
    assert {"check": "duplicates", "domain": "source", "rows": [0, 1]}.items() <= next(
        finding.items() for finding in high if finding["check"] == "duplicates"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["no-such-pair"], "unknown pair"), (["arrays"], "pair.source_x is not set")],
)
def test_mistakes_and_exit_code_2(datk, arguments, message):
    outcome = datk("data", "audit", *arguments)
    assert outcome.code == 2
    assert message in outcome.err


def test_known_faults_of_a_real_data_set(datk, real_data):
    file = real_data / "radio_frdeep" / "frdeep.npz"
    options = {"source": file, "target": file, "source_x": "x_first", "source_y": "y_first"}
    options |= {"target_x": "x_nvss", "source_group": "id_first", "target_group": "id_nvss"}
    outcome = datk("data", "audit", "arrays", "--json", *(f"--set=pair.{k}={v}" for k, v in options.items()))
    found = {(f["check"], f["domain"]): f for f in json.loads(outcome.out)["findings"]}
    assert found["duplicates", "source"]["rows"] == [479, 499]
    assert found["duplicates", "target"]["rows"] == [165, 459]
    assert len(found["empty images", "source"]["rows"]) == 1
    assert found["empty images", "target"]["severity"] == "ok"
    assert found["split", "both"]["message"].endswith("; set pair.shared_groups=true")
    assert found["shortcut: brightness", "source"]["severity"] == "medium"
