"""outputs.npz: what the selected network says of the rows of a run."""

import numpy as np
import pytest

from datk.base.errors import RunError
from datk.runs import outputs
from tests import build


def test_scores_can_be_made_of_it(tmp_path):
    result = build.run(tmp_path / "run", align="datk:none")
    parts = outputs.read(result.folder)
    assert set(parts) == set(outputs.PARTS)
    assert parts["target", "train"].labels is None
    for domain, part in (("source", "validation"), ("source", "test"), ("target", "test")):
        found = parts[domain, part]
        accuracy = (found.logits.argmax(axis=1) == found.labels).mean()
        assert accuracy == pytest.approx(result.metrics[domain][part]["accuracy"], abs=1e-7)
        assert len(found.rows) == len(found.groups) == result.metrics[domain][part]["n"]
    with np.load(result.folder / "splits.npz") as splits:
        assert set(parts["target", "train"].rows) == set(splits["target_train"])


def test_a_run_without_it_is_told(tmp_path):
    with pytest.raises(RunError, match=r"not there"):
        outputs.read(tmp_path)


def test_damage_is_told(tmp_path):
    (tmp_path / outputs.NAME).write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(RunError, match=r"damaged.*--force"):
        outputs.read(tmp_path)
