"""Files that are cut short, that hold pickles, or that belong to something else."""

import io
import os
import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest
import safetensors.torch
import torch

import datk as toolkit


@pytest.mark.parametrize("keep", [0.0, 0.1, 0.5, 0.99])
@pytest.mark.parametrize("name", ["tiny.npz", "tiny.h5", "source_x.npy"])
def test_truncated_files(refused, name, keep):
    content = Path(name).read_bytes() if Path(name).exists() else b""
    Path(name).write_bytes(content[: int(len(content) * keep)])
    where = "pair.source_x" if name.endswith(".npy") else "pair.source"
    refused([name, "cannot be read"], set={where: name})


def test_damaged_files(refused, arguments):
    """A byte in the middle of an archive is wrong, and a text has the name of an archive."""
    content = bytearray(Path("tiny.npz").read_bytes())
    content[len(content) // 3] ^= 0xFF
    Path("damaged.npz").write_bytes(content)
    Path("text.npz").write_text("x y\n1 2\n")
    for name in ("damaged.npz", "text.npz"):
        refused([name, "cannot be read"], set={"pair.source": name})


# --- pickles -------------------------------------------------------------------------------------------


class Trap:
    """Creates the folder `sprung` when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("sprung",)


def test_the_trap_works():
    unpickler = pickle.Unpickler  # the only one in the project
    unpickler(io.BytesIO(pickle.dumps(Trap()))).load()
    assert Path("sprung").is_dir()


@pytest.mark.parametrize("key", ["source_x", "source_y", "target_y"])
@pytest.mark.parametrize(
    "name", ["objects.npz", "objects.npy", "pickle.npz", "pickle.npy", "pickle.h5", "opaque.h5"]
)
def test_pickles_among_the_data_are_refused_unopened(refused, tiny_arrays, name, key):
    objects = np.array([Trap()] * 60, dtype=object)
    if name == "objects.npz":
        np.savez(name, **tiny_arrays | {key: objects})
    elif name == "objects.npy":
        np.save(name, objects)
    elif name == "opaque.h5":
        with h5py.File(name, "w") as file:
            for other, array in tiny_arrays.items():
                file[other] = np.full(60, np.void(pickle.dumps(Trap()))) if other == key else array
    else:
        Path(name).write_bytes(pickle.dumps(objects))
    alone = name.endswith(".npy")
    options = {f"pair.{key}": name} if alone else {f"pair.{key.partition('_')[0]}": name}
    refused([name], set=options)
    assert not Path("sprung").exists()


def test_pickles_in_a_run_folder_are_refused_unopened(refused, call, finished):
    Path("run/result.json").unlink()
    torch.save({"epoch": Trap()}, "run/checkpoints/last.pt")
    outcome = call(resume=True)
    assert outcome.code == 2
    assert outcome.err.splitlines()[-1].startswith(
        "error: run/checkpoints/last.pt is damaged or no checkpoint of datk"
    )
    Path("run/checkpoints/selected.safetensors").write_bytes(pickle.dumps(Trap()))
    refused(["selected.safetensors"], init="run", out="other")
    assert not Path("sprung").exists()


# --- run folders ---------------------------------------------------------------------------------------


@pytest.fixture
def finished(arguments):
    """The run of the working arguments has been made already."""
    return toolkit.run(**arguments)


def test_a_run_folder_is_not_overwritten(refused, finished):
    refused(["run holds a run already", "--resume", "--force"])
    refused(
        ["cannot resume run", "align.datk:mmd was a table and is now not there"], align="coral", resume=True
    )
    refused(["cannot resume run", "train.lr was 0.003 and is now 0.5"], set={"train.lr": 0.5}, resume=True)
    Path("run/result.json").unlink()
    refused(["run holds a run already"])


@pytest.mark.parametrize("changes", [{}, {"force": True}, {"resume": True}])
def test_a_place_that_is_no_run_is_left_alone(refused, changes):
    Path("mine").mkdir()
    Path("mine/notes.txt").touch()
    refused(["mine", "holds no run"], out="mine", **changes)
    refused(["mine/notes.txt"], out="mine/notes.txt", **changes)


def test_bad_data_do_not_cost_an_earlier_run(refused, finished, tiny_arrays):
    np.savez("tiny.npz", **tiny_arrays | {"source_y": np.zeros(60)})
    refused(["two classes"], force=True, set={"pair.target_y": "source_y"})


def test_damaged_records_of_a_run(refused, finished):
    Path("run/result.json").write_text("{")
    refused(["run/result.json", "cannot be read"], resume=True)
    Path("run/result.json").write_text('{"datk": 1}')
    refused(["run/result.json"], resume=True)
    Path("run/config.json").write_text("[")
    refused(["run/config.json"], resume=True)


def test_a_checkpoint_of_other_components(call, change, finished):
    """The folder's configuration is the same, its checkpoint comes from elsewhere."""
    toolkit.run(**change(out="other", set={"backbone.hidden": [8]}))
    Path("run/result.json").unlink()
    Path("run/checkpoints/last.pt").write_bytes(Path("other/checkpoints/last.pt").read_bytes())
    outcome = call(resume=True)
    assert outcome.code == 2
    assert "last.pt is not a checkpoint of these components" in outcome.err.splitlines()[-1]
    assert not Path("run/result.json").exists()


def test_weights_of_another_network(refused, finished):
    telling = ["--init run", "backbone weight"]
    refused([*telling, "[8, 768] here"], init="run", out="new", set={"backbone.hidden": [8]})
    refused([*telling, "missing there"], init="run", out="new", backbone="deepmerge")
    selected = Path("run/checkpoints/selected.safetensors")
    selected.write_bytes(selected.read_bytes()[:-2])
    refused(["selected.safetensors", "cannot be read"], init="run", out="new")
    safetensors.torch.save_file({"a": torch.zeros(1)}, selected)
    refused(["--init run"], init="run", out="new")
