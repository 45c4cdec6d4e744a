"""Pairs from the files of MATLAB and AnnData, and from chunks that hold several rows."""

import h5py
import numpy as np
import pytest

import datk
from datk.base.errors import DataError
from datk_arrays.pair import Arrays, ArraysConfig
from tests.data.readers.test_hdf5 import matlab

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 255, (10, 9, 8, 3)).astype(np.float64)
LABELS = np.arange(10) % 2 + 1.0


def pair(path, **keys):
    return Arrays(ArraysConfig(source=str(path), target=str(path), **keys))


@pytest.mark.parametrize("labels", [LABELS[:, None], LABELS[None], np.eye(2)[LABELS.astype(int) - 1]])
def test_matlab(tmp_path, labels):
    path = matlab(tmp_path / "a.mat", {"x": IMAGES, "y": labels, "test": LABELS[:, None] == 2})
    keys = {"source_x": "x", "source_y": "y", "target_x": "x", "target_y": "y"}
    found = pair(path, **keys, source_test="test")
    np.testing.assert_array_equal(found.source.x[:], IMAGES.transpose(0, 3, 1, 2))
    assert found.source_labels.tolist() == found.answers(np.arange(10)).tolist() == [0, 1] * 5
    assert found.source.test.tolist() == [False, True] * 5
    assert "MATLAB's order of axes" in found.source.x.notes[0]
    assert "'y' in" in found.notes[0]


def test_matlab_images_with_their_rows_last(tmp_path):
    path = matlab(tmp_path / "a.mat", {"x": IMAGES.transpose(1, 2, 3, 0), "y": LABELS[:, None]})
    with pytest.raises(
        DataError, match=r"has 9 rows, but .* has 10; if the last axis of \(9, 8, 3, 10\) counts"
    ):
        pair(path, source_x="x", source_y="y", target_x="x", layout="nhwc")


def test_anndata(tmp_path):
    with h5py.File(tmp_path / "a.h5ad", "w") as file:
        file["X"] = IMAGES[:, 0, :, 0]
        kind = file.create_group("obs/kind")
        kind["codes"] = np.array([0, 1, 0, 1, 0, 1, 0, 1, 0, -1], "i1")
        kind.create_dataset("categories", data=["T cell", "B cell"], dtype=h5py.string_dtype())
    keys = {"source_x": "X", "target_x": "X", "target_y": "obs/kind"}
    with pytest.raises(DataError, match=r"1 of 10 values are empty strings, the first in row 9"):
        pair(tmp_path / "a.h5ad", source_y="obs/kind", **keys)
    np.save(tmp_path / "y.npy", np.array(["B cell", "T cell"] * 5))
    found = pair(tmp_path / "a.h5ad", source_y=str(tmp_path / "y.npy"), **keys)
    assert found.classes == ("B cell", "T cell")
    assert found.answers(np.arange(10)).tolist() == [1, 0, 1, 0, 1, 0, 1, 0, 1, -1]


def test_chunks_of_several_rows_are_told_when_they_are_copied(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", data=IMAGES, chunks=(4, 3, 3, 1), compression="gzip")
        file["y"] = LABELS
    found = pair(tmp_path / "a.h5", source_x="x", source_y="y", target_x="x")
    assert found.source.x.notes == []
    rows = found.source.x.whole_rows()
    assert rows is found.source.x
    np.testing.assert_array_equal(rows[np.array([1, 8])], IMAGES.transpose(0, 3, 1, 2)[[1, 8]])
    assert "copied once" in rows.notes[0]


def test_the_same_data_train_the_same_weights_however_they_lie(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    x = (RNG.normal(size=(60, 8, 7)) + np.arange(60)[:, None, None] % 2).astype(np.float32)
    arrays = {"x": x, "y": np.arange(60) % 2}
    np.savez("a.npz", **arrays)
    matlab(tmp_path / "a.mat", arrays | {"y": arrays["y"][:, None]})
    layouts = {"rows": (1, 8, 7), "bands": (16, 4, 3), "columns": (60, 1, 1)}
    for name, chunks in layouts.items():
        with h5py.File(f"{name}.h5", "w") as file:
            file.create_dataset("x", data=x, chunks=chunks, compression="gzip" if name == "bands" else None)
            file["y"] = arrays["y"]
    np.save("c.npy", x)
    np.save("f.npy", np.asfortranarray(x))
    np.save("y.npy", arrays["y"])
    files = {file: (file, "x", "y") for file in ("a.npz", "a.mat", *(f"{name}.h5" for name in layouts))}
    files |= {file: (None, file, "y.npy") for file in ("c.npy", "f.npy")}
    weights, copied = {}, set()
    for name, (file, key, labels) in files.items():
        done = datk.run(
            pair={"name": "arrays", "source": file, "target": file}
            | {"source_x": key, "source_y": labels, "target_x": key},
            backbone="mlp",
            align="mmd",
            epochs=1,
            device="cpu",
            out=tmp_path / f"run-{name}",
            set={"data.memory_gb": 1e-9, "train.batch_size": 16},
        )
        weights[name] = done.weights_sha256
        copied |= {name for note in done.notes if "copied once" in note}
    assert set(weights.values()) == {weights["a.npz"]}, weights
    assert copied == {"a.mat", "f.npy", "bands.h5", "columns.h5"}
