"""What the machine refuses, files of a run that are damaged, and numbers that no machine has: each is told as
the user's to mend, in a line that names what it is about; never as a fault of datk."""

import json
import os
import re
from pathlib import Path

import pytest
import torch

import datk as toolkit
from datk.base.errors import DatkError

HUGE = "1" + "0" * 400


@pytest.fixture
def finished(arguments):
    """The run of the working arguments has been made already."""
    return toolkit.run(**arguments)


@pytest.fixture
def told(call, change):
    """Demands a line that is the user's to mend, of both programs."""

    def told(telling, **changes):
        outcome = call(**changes)
        assert outcome.code == 2, outcome
        last = outcome.err.splitlines()[-1]
        assert last.startswith("error: ")
        assert "Traceback" not in outcome.err
        with pytest.raises(DatkError) as caught:
            toolkit.run(**change(**changes | ({} if "out" in changes else {"out": "second"})))
        for message in (last, str(caught.value)):
            assert [words for words in telling if words not in message] == [], message

    return told


# --- memory --------------------------------------------------------------------------------------------

MEMORY = [
    MemoryError(),
    MemoryError("Unable to allocate 3.5 TiB for an array"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("std::bad_alloc"),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
    RuntimeError("MPS backend out of memory"),
]


@pytest.mark.parametrize(
    "where", ["datk.runs.run.prepare", "datk.training.loop.train_step", "datk_arrays.pair.Arrays.__init__"]
)
@pytest.mark.parametrize("error", MEMORY, ids=lambda error: str(error)[:20])
def test_memory_that_is_short(told, monkeypatch, where, error):
    def short(*_, **__):
        raise error

    monkeypatch.setattr(where, short)
    told(["out of memory", "train.batch_size"])


@pytest.mark.parametrize("size", [2**40, 2**62])
def test_a_network_that_no_memory_holds(told, size):
    told(["memory" if size == 2**40 else "too large"], set={"backbone.hidden": [size]})


# --- permissions and places ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "telling"),
    [
        (PermissionError(13, "Permission denied", "/there/x"), ["/there/x", "Permission denied"]),
        (OSError(30, "Read-only file system", "/there/x"), ["/there/x", "Read-only", "can be written to"]),
        (OSError(24, "Too many open files", "/there/x"), ["/there/x", "ulimit -n"]),
        (OSError(5, "Input/output error", "/there/x"), ["/there/x", "Input/output error"]),
        (OSError(116, "Stale file handle"), ["Stale file handle"]),
        (IsADirectoryError(21, "Is a directory", "/there/x"), ["/there/x", "Is a directory"]),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
@pytest.mark.parametrize(
    "where",
    ["datk.runs.run.prepare", "datk_arrays.pair.Arrays.__init__", "datk.runs.folder.RunFolder.finish"],
)
def test_what_the_system_refuses(told, monkeypatch, where, error, telling):
    def refusing(*_, **__):
        raise error

    monkeypatch.setattr(where, refusing)
    told(telling)


@pytest.mark.parametrize(
    ("mode", "changes", "telling"),
    [
        (0o555, {"out": "closed/run"}, ["closed"]),
        (0o000, {"out": "closed"}, ["closed"]),
        (0o000, {"init": "closed/run", "out": "new"}, ["closed"]),
        (0o000, {"config": "closed/config.toml"}, ["closed"]),
        (0o000, {"recipe": "closed/recipe.toml"}, ["closed"]),
        (0o000, {"set": {"pair.source": "closed/x.npz"}}, ["closed"]),
    ],
    ids=str,
)
def test_places_without_permission(told, mode, changes, telling):
    Path("closed").mkdir(mode=mode)
    if os.access("closed", os.W_OK):
        pytest.skip("root may write everywhere")
    try:
        told(telling, **changes)
    finally:
        Path("closed").chmod(0o755)


def test_a_data_folder_that_is_a_file(datk, monkeypatch):
    Path("file").touch()
    monkeypatch.setenv("DATK_DATA_DIR", "file")
    for command in (
        ["run", "--pair", "illustris-simsim"],
        ["data", "fetch", "illustris-simsim", "--from", "."],
    ):
        outcome = datk(*command)
        assert (outcome.code, outcome.err.count("\n")) == (2, 1), outcome
        assert outcome.err.startswith("error: ")
    assert datk("data", "list").code == 0
    assert datk("data", "show", "illustris-simsim").code == 0


LOOP = "loop"
PLACES = {
    "a null byte": "a\0b", "too long": "x" * 5000, "a long path": "/".join(["x" * 200] * 40), "empty": "",
    "a loop": LOOP, "a surrogate": "a\udcffb", "no home": "~nobody-of-that-name/x", "a device": "/dev/null",
}  # fmt: skip


@pytest.mark.parametrize("option", ["out", "init", "config", "recipe", "backbone", "pair.source", "hook"])
@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_odd_places(datk, arguments, change, place, option):
    """Any name of a file or folder ends in a line, or in a run."""
    Path(LOOP).symlink_to(LOOP)
    if option in ("config", "recipe") and not place.startswith("/dev"):
        place += ".toml"
    if option == "backbone":
        place += ".py:Net"
    if option == "hook":
        made = datk("run", *flags(arguments), "--hook", place + ".py")
    elif "." in option:
        made = datk("run", *flags(change(set={option: place or '""'})))
    else:
        made = datk("run", *flags(change(**{option: place})))
    harmless(made)


def flags(arguments):
    words = []
    for name, value in arguments.items():
        if name == "set":
            for key, option in value.items():
                text = option if isinstance(option, str) else json.dumps(option)
                words += ["--set", f"{key}={text}"]
        else:
            words += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    return words


def harmless(outcome):
    """A run, or one line that is the user's to mend."""
    assert outcome.code in (0, 2), outcome
    assert "internal error" not in outcome.err
    assert "Traceback" not in outcome.err
    if outcome.code == 2:
        assert re.match(r"(rank \w+: )?error: ", outcome.err.splitlines()[-1]), outcome.err
        assert len(outcome.err.splitlines()[-1]) < 1100
    return outcome


# --- files of a run ------------------------------------------------------------------------------------

DEEP = "[" * 100_000
DAMAGE = {
    "empty": b"", "cut": b"{", "no object": b"[1]", "a number": b"1", "null": b"null", "text": b'"x"',
    "of lists": b"[[1]]", "of numbers": b"[1, 2]", "not UTF-8": b"\xff\xfe\x00", "deep": DEEP.encode(),
    "a huge number": b'{"epoch": ' + HUGE.encode() * 20 + b"}", "odd values": b'{"epoch": "x", "datk": [1]}',
    "binary": bytes(range(256)), "NaN": b'{"epoch": NaN}', "zeros": bytes(4096),
}  # fmt: skip
FILES = ["metrics.jsonl", "environment.json", "config.json", "result.json", "splits.npz", "log.txt",
         "checkpoints/last.pt", "checkpoints/selected.safetensors"]  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_damaged_files_of_a_run(datk, arguments, finished, name):
    """Each is told or not needed, when the run is resumed, finished or not, or another starts from it."""
    good = {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()}
    for what, content in DAMAGE.items():
        for complete in (True, False):
            for path, before in good.items():
                path.write_bytes(before)
            (Path("run") / name).write_bytes(content)
            if not complete:
                Path("run/result.json").unlink()
            for words in (["--resume", "--out", "run"], [*flags(arguments), "--resume"]):
                outcome = datk("run", *words, "--quiet")
                assert outcome.code in (0, 2), (what, complete, words, outcome)
                assert "internal error" not in outcome.err
            if name in ("config.json", "checkpoints/selected.safetensors", "environment.json"):
                started = datk("run", *flags(arguments | {"out": f"new-{what}-{complete}"}), "--init", "run")
                assert started.code in (0, 2), (what, started)
                assert "internal error" not in started.err


@pytest.mark.parametrize("content", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("form", ["toml", "json"])
@pytest.mark.parametrize("flag", ["--config", "--recipe"])
def test_damaged_configurations(datk, content, form, flag):
    Path(f"c.{form}").write_bytes(content)
    harmless(datk("config", "show", flag, f"c.{form}"))
    harmless(datk("bench", f"c.{form}"))


def test_deep_options(datk):
    for text in ("[" * 5000, "{a=" * 5000, "[" * 400 + "]" * 400):
        outcome = harmless(datk("run", "--set", f"train.betas={text}"))
        assert outcome.code == 2
        assert len(outcome.err) < 1100


# --- numbers -------------------------------------------------------------------------------------------

NUMBERS = [
    HUGE,
    f"-{HUGE}",
    "9" * 5000,
    str(2**63),
    str(2**64),
    "1e400",
    "-1e400",
    "inf",
    "-inf",
    "nan",
    "1e308",
    "5e-324",
]
OPTIONS = [
    "train.epochs", "train.batch_size", "train.lr", "train.eps", "train.weight_decay", "train.cycle_length",
    "train.balance", "train.patience", "train.log_every", "train.save_every", "data.split_seed",
    "data.memory_gb", "seed", "backbone.hidden", "backbone.dropout", "align.mmd.weight",
]  # fmt: skip


@pytest.mark.parametrize("option", OPTIONS)
def test_numbers_that_no_machine_has(datk, arguments, option):
    for text in NUMBERS:
        value = f"[{text}]" if option == "backbone.hidden" else text
        known = {key: text for key, text in arguments["set"].items() if key != option}
        harmless(
            datk("run", *flags(arguments | {"set": known | {"train.patience": 1, option: value}}), "--force")
        )


@pytest.mark.parametrize("epochs", [HUGE, str(2**63), "0", "-1", "1.5", "nan", "x"])
def test_epochs_that_cannot_be(datk, tiny_pair, epochs):
    assert harmless(datk("run", *tiny_pair, "--epochs", epochs)).code == 2


@pytest.mark.parametrize("seed", [2**63, 2**64, 10**400, -1, 0.5, float("nan"), "x", [1, "a"]])
def test_seeds_that_cannot_be(arguments, seed):
    with pytest.raises(DatkError):
        toolkit.run(**arguments | {"seed": seed})


@pytest.mark.parametrize(
    "device",
    [
        "",
        " ",
        "cpu:0",
        "cuda:-1",
        "cuda:99999999999999999999",
        "cuda:x",
        "meta",
        "CPU",
        "cpu\0",
        "xla",
        "cuda:0:0",
        "c" * 9999,
    ],
)
def test_devices_that_are_none(datk, tiny_pair, device):
    outcome = harmless(datk("run", *tiny_pair, "--device", device))
    assert outcome.code == 2
    assert "device" in outcome.err


# --- the environment -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "variables",
    [
        {"WORLD_SIZE": "junk"}, {"WORLD_SIZE": "-2"}, {"WORLD_SIZE": "2.5"}, {"WORLD_SIZE": HUGE},
        {"WORLD_SIZE": "2"}, {"WORLD_SIZE": "2", "RANK": "junk"}, {"WORLD_SIZE": "2", "RANK": "7"},
        {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1"},
        {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "junk"},
        {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": HUGE},
        {"WORLD_SIZE": "2", "RANK": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "99999"},
    ],
    ids=str,
)  # fmt: skip
def test_what_torchrun_would_set(datk, tiny_pair, monkeypatch, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    for command in (["run", *tiny_pair], ["bench", "deepmerge-ii"], ["plugins", "show", "mdm"]):
        outcome = harmless(datk(*command))
        assert re.match("(rank .*: )?error: ", outcome.err), outcome


@pytest.mark.parametrize("threads", ["junk", "-1", "0", ""])
def test_odd_numbers_of_threads(datk, tiny_pair, monkeypatch, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    assert harmless(datk("run", *tiny_pair)).code == 0


def test_whole_numbers_are_those_of_a_machine(refused):
    for option in ("train.epochs", "train.batch_size", "train.patience", "data.split_seed", "train.balance"):
        refused([option, "2^63"], set={option: int(HUGE)})
