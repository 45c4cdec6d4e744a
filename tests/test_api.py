"""`datk.run` in Python: the same as the command line, and a guest that leaves everything as it was."""

import json
import random

import numpy as np
import pytest
import torch

import datk
from datk.cli.main import main
from tests.toys import TOYS


def test_the_api_returns_what_the_command_line_writes(tmp_path):
    flags = [
        "--pair", TOYS + "Toy", "--backbone", "mlp", "--align", "mmd,dann", "--reg", "fisher,entropy",
        "--epochs", "2", "--seed", "3", "--set", "align.dann.hidden=[4]", "--set", "reg.entropy.weight=0.1",
        "--set", "pair.shift=2", "--set", "train.batch_size=16", "--device", "cpu",
    ]  # fmt: skip
    main(["run", *flags, "--out", str(tmp_path / "cli")])
    result = datk.run(
        pair={"name": TOYS + "Toy", "shift": 2.0},
        backbone="mlp",
        align={"mmd": {}, "dann": {"hidden": [4]}},
        reg=["fisher", "entropy"],
        epochs=2,
        seed=3,
        device="cpu",
        set={"reg.entropy.weight": 0.1, "train.batch_size": 16},
        out=tmp_path / "api",
    )
    written = json.loads((tmp_path / "cli" / "result.json").read_text())
    returned = result.model_dump(mode="json")
    timeless = [
        {k: v for k, v in found.items() if not k.startswith("seconds")} for found in (written, returned)
    ]
    assert timeless[0] == timeless[1]
    assert result.folder == tmp_path / "api"
    assert result == datk.read_result(tmp_path / "api")
    assert (tmp_path / "cli" / "config.json").read_text() == (tmp_path / "api" / "config.json").read_text()


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("deterministic", [False, True])
def test_a_run_leaves_the_callers_state_alone(fails, deterministic, tmp_path):
    def state():
        return (
            torch.get_rng_state().tolist(),
            random.getstate(),
            np.random.get_state()[1].tolist(),  # noqa: NPY002
            torch.get_deterministic_debug_mode(),
            torch.backends.cudnn.benchmark,
            torch.utils.deterministic.fill_uninitialized_memory,
            torch.is_grad_enabled(),
            torch.get_num_threads(),
            torch.get_default_dtype(),
        )

    def run():
        return datk.run(
            pair={"name": TOYS + "Toy", "shape": [2, 16, 16]},
            backbone="deepmerge",
            align={"dann": {"hidden": [4]}, TOYS + "Centroid": {}},
            reg={TOYS + "NanAt": {"step": 3 if fails else 99}},
            epochs=2,
            device="cpu",
            out=tmp_path / "run",
            set={"train.batch_size": 16, "train.deterministic": deterministic, "train.augment": "dihedral"},
        )

    torch.set_deterministic_debug_mode("warn")
    try:
        before = state()
        if fails:
            with pytest.raises(datk.DatkError):
                run()
        else:
            run()
        assert state() == before
    finally:
        torch.set_deterministic_debug_mode("default")


def test_mistakes_are_one_kind_of_error(tmp_path):
    for mistake in (
        {"backbone": "deepmerg"},
        {"align": "mdm"},
        {"set": {"train.epochs": 0}},
        {"config": tmp_path / "none.toml"},
        {"device": "gpu"},
        {"pair": {"name": TOYS + "Toy", "source_rows": 2}},
        {"init": tmp_path / "nowhere"},
    ):
        with pytest.raises(datk.DatkError) as error:
            datk.run(**{"pair": TOYS + "Toy", "backbone": "mlp", "out": tmp_path / "run", **mistake})
        assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()
