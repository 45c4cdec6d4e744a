"""Arrays that are given in Python, not in files."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import datk
from datk.base.errors import ConfigError, RunError
from datk.config.resolve import resolve
from datk_arrays.memory import InMemory


@pytest.fixture
def given(tiny_arrays):
    return {"name": "arrays", **tiny_arrays}


def run(pair, out="run", **options):
    train = {"train.batch_size": 16}
    return datk.run(
        pair=pair, backbone="mlp", align="none", epochs=1, device="cpu", out=out, **{"set": train, **options}
    )


def test_arrays_in_memory_give_what_files_give(given, tmp_path):
    np.savez("tiny.npz", **{key: value for key, value in given.items() if key != "name"})
    keys = {key: key for key in given if key != "name"}
    files = run({"name": "arrays", "source": "tiny.npz", "target": "tiny.npz", **keys}, out="files")
    memory = run(given)
    assert (memory.weights_sha256, memory.data_sha256) == (files.weights_sha256, files.data_sha256)
    assert memory.metrics == files.metrics


def test_the_configuration_keeps_a_description(given):
    before = {key: np.array(value) for key, value in given.items()}
    run(given)
    assert all(np.array_equal(before[key], given[key]) for key in given)
    text = Path("run/config.json").read_text()
    assert len(text) < 10_000
    recorded = json.loads(text)["pair"]
    assert recorded["source_x"].keys() == {"shape", "dtype", "sha256"}
    assert (recorded["source_x"]["shape"], recorded["source_x"]["dtype"]) == ([60, 3, 16, 16], "uint8")
    assert (recorded["source"], recorded["target_test"]) == (None, None)


def test_a_run_goes_on_with_the_same_arrays(given):
    first = run(given)
    Path("run/result.json").unlink()
    again = {key: value.copy() if key != "name" else value for key, value in given.items()}
    assert run(again, resume=True).weights_sha256 == first.weights_sha256
    Path("run/result.json").unlink()
    assert datk.run(pair=again, out="run", resume=True).weights_sha256 == first.weights_sha256
    Path("run/result.json").unlink()
    again["source_x"][3, 0, 0, 0] += 1
    with pytest.raises(
        RunError, match=r"the data have changed since it was started \(pair.source_x.sha256 was"
    ):
        run(again, resume=True)


def test_a_description_alone_is_no_data(given, datk):
    run(given)
    Path("run/result.json").unlink()
    for arguments in (["--resume", "--out", "run"], ["--config", "run/config.json", "--out", "new"]):
        outcome = datk("run", *arguments)
        assert outcome.code == 2
        assert (
            "error: pair.source_x was an array in memory (array uint8 [60, 3, 16, 16]); give it again in "
            "Python, or save it to a file and give the key\n"
        ) in outcome.err
    assert datk("config", "show", "--config", "run/config.json").code == 0


def test_a_run_in_memory_goes_on_from_files(given, datk):
    """The checksum decides, not the way in which the data came."""
    first = run(given)
    Path("run/result.json").unlink()
    np.savez("tiny.npz", **{key: value for key, value in given.items() if key != "name"})
    keys = [f"pair.{key}={key}" for key in given if key != "name"]
    sets = [
        word for key in (*keys, "pair.source=tiny.npz", "pair.target=tiny.npz") for word in ("--set", key)
    ]
    outcome = datk("run", "--resume", "--out", "run", *sets)
    assert outcome.code == 0, outcome.err
    assert json.loads(Path("run/result.json").read_text())["weights_sha256"] == first.weights_sha256


class Frame:
    """What pandas and polars have in common."""

    def __init__(self, values):
        self.values = values

    def to_numpy(self):
        return self.values


@pytest.mark.parametrize(
    "wrap",
    [
        np.asarray,
        torch.from_numpy,
        lambda x: torch.from_numpy(x).requires_grad_(),
        Frame,
        np.asfortranarray,
        np.ndarray.tolist,
        lambda x: x[::-1][::-1],
    ],
)
def test_arrays_of_many_kinds(wrap):
    x = np.random.default_rng(0).normal(size=(40, 4))
    y = np.arange(40) % 2
    plain = run({"name": "arrays", "source_x": x, "source_y": y, "target_x": x + 1}, out="plain")
    other = run(
        {"name": "arrays", "source_x": wrap(x), "source_y": Frame(y), "target_x": wrap(x + 1)}, out="other"
    )
    assert other.weights_sha256 == plain.weights_sha256


def test_labels_are_words_too():
    x, names = (
        np.random.default_rng(0).normal(size=(40, 4)),
        np.array(["spiral", "elliptical"] * 20, dtype=object),
    )
    result = run(
        {"name": "arrays", "source_x": x, "source_y": names, "target_x": x, "target_y": names.tolist()}
    )
    assert result.classes == ["elliptical", "spiral"]


def test_rows_on_disk_are_not_read_at_once(given):
    np.save("x.npy", given["source_x"])
    mapped = InMemory.of(np.load("x.npy", mmap_mode="r"))
    assert isinstance(mapped.values("source_x"), np.memmap)
    assert mapped == InMemory.of(given["source_x"])
    assert (
        run({**given, "source_x": np.load("x.npy", mmap_mode="r")}).weights_sha256
        == run(given, "b").weights_sha256
    )


@pytest.mark.parametrize(
    ("value", "telling"),
    [
        (5, "pair.source_x: give an array, or the key of one in a file, not 5"),
        ({"shape": [1]}, "pair.source_x: give an array, or the key of one in a file"),
        ([[1, 2], [3]], "pair.source_x: it cannot be made an array of: ValueError"),
        (np.ma.masked_less(np.arange(4.0), 2), "some values are masked"),
        (torch.zeros(4, 2, dtype=torch.bfloat16), "pair.source_x: it cannot be made an array of: TypeError"),
    ],
)
def test_what_is_no_array(given, value, telling):
    with pytest.raises(ConfigError) as error:
        resolve(config={"pair": {**given, "source_x": value}})
    assert telling in str(error.value)


def test_a_checksum_tells_values_types_and_shapes_apart():
    x = np.arange(6)
    same = [x, x[::-1][::-1], np.asfortranarray(x), x.tolist(), torch.from_numpy(x)]
    others = [x.reshape(2, 3), x + 1, x.astype(np.float64), x.astype(np.int32), np.array([*"abcdef"])]
    others += [np.array(letters, dtype=object) for letters in ([*"abcde", None], [*"abcd", None, "e"])]
    assert all(InMemory.of(array) == InMemory.of(x) for array in same)
    distinct = [json.dumps(InMemory.of(array).record) for array in [x, *others]]
    assert len(set(distinct)) == len(distinct)
    big = np.random.default_rng(0).normal(size=(5, 2**20))
    assert InMemory.of(big) == InMemory.of(np.asfortranarray(big))
