"""What the audit says of the split that a run would make."""

import numpy as np
import pytest

from datk.data.audit import audit
from tests import build
from tests.toys import TOYS


def findings(labels, **config):
    chosen = build.experiment(pair={"name": TOYS + "Toy", "source_rows": len(labels)}, **config)
    pair = chosen.pair.cls(chosen.pair.config)
    pair.source_labels = np.asarray(labels)
    found = audit(pair, build.task_of(chosen), chosen.config).findings
    return [(finding.severity, finding.message) for finding in found if finding.check == "split"]


@pytest.mark.parametrize(("rare", "lacking"), [(1, ["validation", "test"]), (2, ["test"]), (3, [])])
def test_a_class_that_a_part_lacks_is_a_finding(rare, lacking):
    found = [message for severity, message in findings([0] * 60 + [1] * rare) if severity == "medium"]
    assert [message.split()[1] for message in found] == lacking
    assert all("no rows of class 'class 1'" in message for message in found)


def test_the_split_of_the_audit_is_that_of_the_run():
    told = findings([0, 1] * 30, data={"target_rows": "all", "split_seed": "run"}, seed=3)
    assert any(message.startswith("stratified+all-target-rows") for _, message in told)
    assert any("all 50 target rows were trained on" in message for _, message in told)
