"""A run that works, and what must hold when something about it is changed for the worse."""

import hashlib
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import datk as toolkit
from datk.base.errors import DatkError


def as_flags(arguments: dict[str, Any]) -> list[str]:
    """Arguments of `datk.run` for the command line."""
    words = ["run"]
    for name, value in arguments.items():
        if name == "set":
            texts = {
                key: option if isinstance(option, str) else json.dumps(option)
                for key, option in value.items()
            }
            words += [word for key, text in texts.items() for word in ("--set", f"{key}={text}")]
        else:
            words += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    return words


def snapshot() -> dict[str, str]:
    """Every file and folder below the current one, files with the checksum of their content."""
    paths = [path for path in Path().rglob("*") if "__pycache__" not in path.parts]
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() if p.is_file() else "folder" for p in paths}


@pytest.fixture
def arguments(tiny_arrays, tiny_pair):
    """Arguments of `datk.run` that work with the data in tiny.npz; tiny.h5 and .npy files hold the same."""
    with h5py.File("tiny.h5", "w") as file:
        for key, array in tiny_arrays.items():
            np.save(f"{key}.npy", array)
            file[key] = array
    options = {"pair.source": "tiny.npz", "pair.target": "tiny.npz", "train.batch_size": 16}
    options |= {f"pair.{key}": key for key in tiny_arrays}
    return {"pair": "arrays", "backbone": "mlp", "epochs": 1, "device": "cpu", "out": "run", "set": options}


@pytest.fixture
def change(arguments):
    """The working arguments with others in place; `set` adds options."""
    return lambda **changes: arguments | changes | {"set": arguments["set"] | changes.get("set", {})}


@pytest.fixture
def call(datk, change):
    """Calls the command line with the working arguments, changed."""
    return lambda **changes: datk(*as_flags(change(**changes)))


@pytest.fixture
def refused(call, change):
    """Demands that neither program accepts the changes, that both say so in one line with the telling words,
    and that they leave everything as it was."""

    def refused(telling: list[str], **changes: Any) -> None:
        before = snapshot()
        outcome = call(**changes)
        assert outcome.code == 2, outcome
        assert outcome.err.startswith("error: ")
        assert outcome.err.count("\n") == 1
        assert outcome.out == ""
        with pytest.raises(DatkError) as caught:
            toolkit.run(**change(**changes))
        for message in (outcome.err, str(caught.value)):
            assert [words for words in telling if words not in message] == [], message
        assert snapshot() == before

    return refused
