"""Options, names and data with which no run can begin."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

Arrays = dict[str, np.ndarray]


@pytest.mark.parametrize(
    ("changes", "telling"),
    [
        ({"backbone": "deepmrge"}, ["unknown backbone 'deepmrge'", "did you mean 'deepmerge'?"]),
        ({"align": "mdm"}, ["unknown alignment 'mdm'", "did you mean 'mmd'?"]),
        ({"reg": "fischer"}, ["unknown regularizer 'fischer'", "did you mean 'fisher'?"]),
        ({"pair": "array"}, ["unknown pair 'array'", "did you mean 'arrays'?"]),
        ({"recipe": "deepmerge"}, ["unknown recipe", "deepmerge-ii"]),
        ({"set": {"train.epoch": 3}}, ["unknown option 'train.epoch'", "'train.epochs'"]),
        ({"set": {"align.mmd.wieght": 3}}, ["unknown option 'align.mmd.wieght'", "'align.mmd.weight'"]),
        ({"set": {"pair.sorce": "x"}}, ["unknown option 'pair.sorce'", "'pair.source'"]),
        ({"set": {"trian.epochs": 3}}, ["unknown key 'trian'", "'train'"]),
        ({"set": {"align.coral.weight": 3}}, ["'coral' is not selected"]),
        ({"set": {"align.mmd.weight": -1}}, ["align.mmd.weight", "greater than or equal to 0"]),
        ({"epochs": 0}, ["train.epochs", "greater than or equal to 1"]),
        ({"set": {"train.batch_size": 1}}, ["train.batch_size", "greater than or equal to 2"]),
        ({"set": {"data.fractions": [0.7, 0.2]}}, ["data.fractions is too short", "[0.7, 0.2]"]),
        ({"set": {"data.fractions": [0.7, 0.2, 0.2]}}, ["fractions", "add up to 1"]),
        ({"seed": -1}, ["seed"]),
        ({"config": "absent.toml"}, ["no configuration file absent.toml"]),
        ({"device": "gpu"}, ["unknown device 'gpu'", "cuda"]),
        ({"device": "cpu:"}, ["unknown device 'cpu:'"]),
        ({"init": "absent"}, ["absent", "no such run folder"]),
        ({"init": "."}, ["no trained model"]),
        ({"set": {"pair.source": "absent.npz"}}, ["there is no file absent.npz"]),
        ({"set": {"pair.source": "."}}, ["is a directory"]),
        ({"set": {"pair.source": "tiny.fits"}}, ["tiny.fits"]),
        ({"set": {"pair.source_x": "sourcex"}}, ["tiny.npz has no array 'sourcex'", "'source_x'"]),
        ({"set": {"pair.source": "tiny.h5", "pair.source_x": "x"}}, ["tiny.h5 has no array 'x'", "source_x"]),
        ({"set": {"pair.source_y": "absent.npy"}}, ["there is no file absent.npy"]),
        ({"set": {"pair.source_x": "source_y"}}, ["'source_y' in tiny.npz has shape (60,)"]),
        ({"set": {"pair.layout": "features"}}, ["shape (60, 3, 16, 16)", "pair.layout"]),
        ({"set": {"pair.classes": ["a", "b", "c"]}}, ["pair.classes"]),
    ],
    ids=str,
)
def test_options(refused, changes, telling):
    refused(telling, **changes)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize("device", ["cuda", "cuda:3"])
def test_cuda_where_there_is_none(refused, device):
    refused([device, "no CUDA device", "--device cpu"], device=device)


def with_values(
    array: np.ndarray, values: dict[tuple[int, ...], float], dtype: type = np.float32
) -> np.ndarray:
    array = array.astype(dtype)
    for place, value in values.items():
        array[place] = value
    return array


NAN = {(7, 0, 3, 4): np.nan, (7, 1, 0, 0): np.inf, (21, 2, 15, 15): -np.inf}
OBJECTS = np.arange(60) // 4
GROUPED = {"pair.source_group": "group"}
SHARED = GROUPED | {"pair.target_group": "group", "pair.shared_groups": True}
BOTH_TESTS = {"pair.source_test": "source_test", "pair.target_test": "target_test"}
TARGET_TEST = {"pair.target_test": "test"}

# What is wrong: how the arrays change, the options that say where they are, the telling words.
DATA: dict[str, tuple[Callable[[Arrays], Arrays], dict[str, Any], list[str]]] = {
    "five axes": (lambda a: {"source_x": a["source_x"][..., None]}, {}, ["source_x", "(60, 3, 16, 16, 1)"]),
    "one axis": (lambda a: {"target_x": a["target_y"]}, {}, ["target_x", "(60,)"]),
    "labels of two axes": (lambda a: {"source_y": np.ones((60, 2))}, {}, ["source_y", "(60, 2)", "one-hot"]),
    "labels that are probabilities": (
        lambda a: {"source_y": np.full((60, 2), 0.5)},
        {},
        ["source_y", "not one-hot", "row 0", "0.5, 0.5"],
    ),
    "labels of several kinds": (
        lambda a: {"source_y": np.array(["a", 1] * 30, dtype=object)},
        {},
        ["source_y", "number, string", "astype(str)"],
    ),
    "labels that are objects": (
        lambda a: {"source_y": np.array([{}, "a"] * 30, dtype=object)},
        {},
        ["source_y", "Python objects other than strings and numbers"],
    ),
    "labels that are dates": (
        lambda a: {"source_y": a["source_y"].astype("M8[s]")},
        {},
        ["source_y", "datetime64"],
    ),
    "missing labels": (
        lambda a: {"source_y": np.array(["a", "b", None] * 20, dtype=object)},
        {},
        ["source_y", "20 of 60", "row 2"],
    ),
    "columns of other classes": (
        lambda a: {"source_y": a["source_y"] + 1, "target_y": np.eye(2)[a["target_y"]]},
        {},
        ["target_y", "one-hot", "0 to 1"],
    ),
    "groups that are missing": (
        lambda a: {"group": np.where(OBJECTS == 3, np.nan, OBJECTS)},
        GROUPED,
        ["group", "4 of 60", "row 12"],
    ),
    "groups of two axes": (lambda a: {"group": np.eye(60)}, GROUPED, ["group", "(60, 60)"]),
    "dates": (lambda a: {"source_x": a["source_x"].astype("M8[s]")}, {}, ["source_x", "datetime64"]),
    "records": (
        lambda a: {"source_x": np.zeros((60, 3, 16, 16), [("flux", "f4")])},
        {},
        ["source_x", "flux"],
    ),
    "objects": (
        lambda a: {"source_x": a["source_x"][:, :1, :1, :1].astype(object)},
        {},
        ["source_x", "holds object"],
    ),
    "fewer labels": (lambda a: {"source_y": a["source_y"][:59]}, {}, ["source_x", "60", "source_y", "59"]),
    "more labels": (lambda a: {"target_y": np.ones(61, int)}, {}, ["target_x", "60", "target_y", "61"]),
    "no rows": (lambda a: {"target_x": a["target_x"][:0]}, {}, ["target_x", "empty"]),
    "NaN": (lambda a: {"source_x": with_values(a["source_x"], NAN)}, {}, ["source: 3 values", "row 7"]),
    "NaN in the target": (
        lambda a: {"target_x": with_values(a["target_x"], {(59, 0, 0, 0): np.nan})},
        {},
        ["target: 1 value", "row 59"],
    ),
    "beyond float64's half": (
        lambda a: {"source_x": with_values(a["source_x"], {(3, 0, 0, 0): 1e308}, np.float64)},
        {},
        ["source: 1 value", "1e+307", "row 3"],
    ),
    "complex numbers": (lambda a: {"source_x": a["source_x"] * 1j}, {}, ["source_x", "complex128"]),
    "one class": (
        lambda a: {"source_y": a["source_y"] * 0, "target_y": a["target_y"] * 0},
        {},
        ["source", "all labels are '0'", "two classes"],
    ),
    "unknown classes": (
        lambda a: {"target_y": a["target_y"] + 2},
        {},
        ["target_y", "source does not have: 2, 3"],
    ),
    "labels that are not whole": (lambda a: {"source_y": a["source_y"] + 0.5}, {}, ["source_y", "row 0"]),
    "small images": (
        lambda a: {name: a[name][..., :7, :7] for name in ("source_x", "target_x")},
        {},
        ["7 x 7", "16"],
    ),
    "channels": (lambda a: {"target_x": a["target_x"][:, :1]}, {}, ["source has 3 channels", "target 1"]),
    "sizes": (lambda a: {"target_x": a["target_x"][..., :12, :12]}, {}, ["[3, 16, 16]", "[3, 12, 12]"]),
    "two rows": (lambda a: {key: array[:2] for key, array in a.items()}, {}, ["source", "empty"]),
    "one object": (lambda a: {"group": OBJECTS * 0}, GROUPED, ["source", "empty"]),
    "fewer groups": (lambda a: {"group": OBJECTS[:9]}, GROUPED, ["group", "9", "60"]),
    "shared groups of one domain": (
        lambda a: {"group": OBJECTS},
        GROUPED | {"pair.shared_groups": True},
        ["target_group"],
    ),
    "object in two splits": (
        lambda a: {"group": OBJECTS, "test": np.arange(60) >= 42},
        GROUPED | {"pair.source_test": "test"},
        ["1 group", "group 10", "source_test"],
    ),
    "objects in two splits across domains": (
        lambda a: {"group": OBJECTS, "source_test": OBJECTS >= 10, "target_test": OBJECTS >= 5},
        SHARED | BOTH_TESTS,
        ["5 groups", "source_test", "target_test"],
    ),
    "everything is test": (lambda a: {"test": OBJECTS >= 0}, TARGET_TEST, ["target", "train", "empty"]),
    "nothing is test": (lambda a: {"test": OBJECTS < 0}, TARGET_TEST, ["target", "test", "empty"]),
    "test that is no mask": (lambda a: {"test": np.arange(60)}, TARGET_TEST, ["test", "row 2"]),
    "test of NaN": (lambda a: {"test": np.full(60, np.nan)}, TARGET_TEST, ["test", "60 of 60"]),
}  # fmt: skip


@pytest.mark.parametrize("case", DATA)
def test_data(refused, tiny_arrays, case):
    altered, options, telling = DATA[case]
    np.savez("tiny.npz", **tiny_arrays | altered(tiny_arrays))
    refused(telling, set=options, backbone="deepmerge" if case == "small images" else "mlp")


def test_augmentation_of_what_is_no_image(refused, tiny_arrays):
    flat = {key: array.reshape(60, -1).squeeze() for key, array in tiny_arrays.items()}
    np.savez("tiny.npz", **flat)
    refused(["train.augment=dihedral", "images"], set={"train.augment": "dihedral"})
