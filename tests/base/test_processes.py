"""Several processes that train one model: the numbers of a single one, and an end for all if one ends."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import datk
from datk.base import processes
from datk.base.errors import ConfigError, RunError
from tests.curves import curve
from tests.served import served
from tests.toys import TOYS

LIMIT = 60

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")]

OPTIONS = {
    "pair.shape": "[3,16,16]",
    "pair.source_rows": 90,
    "pair.target_rows": 75,
    "pair.groups": "own",
    "data.target_rows": "split",
    "train.batch_size": 16,
    "train.lr": 1e-3,
    "train.log_every": 1,
    "train.eps": 1e-3,  # see tests/training/test_step.py
    "train.save_every": 0,
    "train.augment": "dihedral",
}

# Loss terms that do something to one rank only.
ONE_OF_THEM = """
import os, signal, time
from datk.base.errors import RunError
from datk.interfaces import Regularizer

class OneOfThem(Regularizer):
    class Config(Regularizer.Config):
        what: str = ""
        step: int = 7

    def __init__(self, config, model):
        super().__init__(config, model)
        self.steps = 0

    def forward(self, source, target, step):
        self.steps += 1
        if self.steps == self.config.step and os.environ.get("RANK") == "1":
            if self.config.what == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.config.what == "interrupted":
                os.kill(os.getpid(), signal.SIGINT)
            if self.config.what == "fails":
                raise RunError("the disk of one machine is gone")
            if self.config.what == "broken":
                raise ZeroDivisionError
        return source.features.sum() * 0
"""


@pytest.fixture(scope="module")
def ranks():
    """Run; the codes of the ranks, and what each said to its error output."""
    with served("ranks") as ask:

        def run(folder, arguments, ranks=2):
            request = {"arguments": arguments, "ranks": ranks, "folder": str(folder), "limit": LIMIT}
            return ask(request), [(Path(folder) / f"rank-{n}.err").read_text() for n in range(ranks)]

        yield run


def arguments(out, *more, epochs=3, backbone="mlp", align="mmd,coral", reg="fisher,entropy", **options):
    """Of `datk run`, for a network without batch normalisation, which on CPUs sees a process's rows only."""
    words = ["run", "--pair", TOYS + "Toy", "--align", align, "--out", str(out), "--device", "cpu"]
    words += ["--backbone", backbone, "--reg", reg, "--epochs", str(epochs)]
    for key, value in (OPTIONS | options).items():
        words += ["--set", f"{key}={value}"]
    return [*words, *more]


def trained(ranks, folder, *more, size=2, **options):
    folder.mkdir()
    codes, said = ranks(folder, arguments(folder / "run", *more, **options), size)
    assert codes == [0] * size, said
    return datk.read_result(folder / "run")


# --- the same numbers ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("align", "reg", "more", "tolerance"),
    [
        ("mmd,coral", "fisher,entropy", {}, 1e-3),
        ("dann", "entropy", {"align.dann.dropout": 0.0, "align.dann.hidden": "[6]"}, 1e-3),
        (TOYS + "Discrepancy", "fisher", {}, 1e-3),
        ("coral", "fisher", {"train.precision": "bfloat16"}, 2**-8),  # its last digit
        ("mmd,coral", "entropy", {"train.label_shift": "estimate", "train.time_budget": "1h"}, 1e-3),
    ],
    ids=["whole batch", "own rows", "phases", "bfloat16", "shares and a budget"],
)
def test_two_ranks_train_as_one_process_does(ranks, tmp_path, align, reg, more, tolerance):
    """Odd numbers of rows everywhere; the last batch of an epoch is filled up, as ever."""
    one = trained(ranks, tmp_path / "one", size=1, align=align, reg=reg, **more)
    two = trained(ranks, tmp_path / "two", size=2, align=align, reg=reg, **more)
    torch.testing.assert_close(curve(two.folder), curve(one.folder), rtol=tolerance, atol=tolerance / 10)
    assert two.selected_epoch == one.selected_epoch
    for domain in ("source", "target"):
        assert two.metrics[domain]["test"] == pytest.approx(one.metrics[domain]["test"], abs=tolerance)
    assert two.data_sha256 == one.data_sha256
    assert (two.folder / "splits.npz").read_bytes() == (one.folder / "splits.npz").read_bytes()


def test_one_rank_writes_and_tells(ranks, tmp_path):
    result = trained(ranks, tmp_path / "two", "--quiet")
    assert (tmp_path / "two" / "rank-0.out").read_text().strip() == str(result.folder)
    assert (tmp_path / "two" / "rank-1.out").read_text() == ""
    assert (tmp_path / "two" / "rank-1.err").read_text() == ""
    assert (result.folder / "log.txt").read_text().count("epoch   1") == 1
    (start,) = json.loads((result.folder / "environment.json").read_text())
    assert start["processes"] == 2
    assert result.notes == ["toy data"]


def test_batch_norm_sees_each_ranks_own_rows_and_a_note_says_so(ranks, tmp_path):
    own = trained(ranks, tmp_path / "own", backbone="deepmerge")
    note = "on CPUs batch normalisation sees each process's share of a batch, not the whole"
    assert own.notes == ["toy data", note]
    assert (own.folder / "log.txt").read_text().count(note) == 1
    one = trained(ranks, tmp_path / "one", size=1, backbone="deepmerge")
    assert one.notes == ["toy data"]
    assert not torch.allclose(curve(own.folder), curve(one.folder), atol=1e-3)
    asked = trained(ranks, tmp_path / "asked", backbone="deepmerge", **{"train.sync_batch_norm": "false"})
    assert asked.notes == ["toy data"]
    assert asked.weights_sha256 == own.weights_sha256


def test_seeds_follow_one_another_in_a_folder_that_all_agree_on(ranks, tmp_path):
    """Without --out, too: the folder's name has the time in it."""
    words = arguments("x", "--seed", "0,1", epochs=1)
    at = words.index("--out")
    codes, said = ranks(tmp_path, words[:at] + words[at + 2 :])
    assert codes == [0, 0], said
    (folder,) = (tmp_path / "runs").iterdir()
    assert json.loads((folder / "summary.json").read_text())["seeds"] == [0, 1]


def test_a_resumed_run_ends_as_one_that_never_stopped(ranks, tmp_path):
    (tmp_path / "one.py").write_text(ONE_OF_THEM)
    reg = f"{tmp_path / 'one.py'}:OneOfThem"
    whole = trained(ranks, tmp_path / "whole", reg=reg)
    killed = {"reg.OneOfThem.what": "killed"}
    codes, _ = ranks(tmp_path, arguments(tmp_path / "run", reg=reg, **killed))
    assert codes[1] == -signal.SIGKILL
    saved = torch.load(tmp_path / "run" / "checkpoints" / "last.pt", weights_only=True)
    assert saved["epoch"] == 1
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    config["reg"][reg]["what"] = ""
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    codes, said = ranks(tmp_path, arguments(tmp_path / "run", "--resume", reg=reg))
    assert codes == [0, 0], said
    assert datk.read_result(tmp_path / "run").weights_sha256 == whole.weights_sha256


# --- an end for all ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "code", "message"),
    [
        ("killed", -signal.SIGKILL, ""),
        ("interrupted", 130, ""),
        ("fails", 2, "rank 1: error: the disk of one machine is gone\n"),
        ("broken", 2, "rank 1: error: regularizer 'OneOfThem' failed in forward: ZeroDivisionError; DATK"),
    ],
)
def test_if_one_rank_ends_the_other_does(ranks, tmp_path, what, code, message):
    (tmp_path / "one.py").write_text(ONE_OF_THEM)
    term = f"{tmp_path / 'one.py'}:OneOfThem"
    codes, said = ranks(tmp_path, arguments(tmp_path / "run", reg=term, **{"reg.OneOfThem.what": what}))
    assert codes == [2, code]
    assert said[1].startswith(message)
    assert said[0].endswith(
        "rank 0: error: another one of the 2 processes ended and says why; --resume goes on with the run\n"
    )
    assert "Traceback" not in said[0] + said[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train.batch_size": 15}, "a batch of 15 source rows cannot be dealt evenly to 2 processes"),
        ({"pair.target_rows": 21}, "a batch of 15 target rows cannot be dealt evenly to 2 processes"),
        ({"pair.target_rows": 5, "align.mmd.wait": 1}, "unknown option 'align.mmd.wait'"),
        ({"train.lr": 1e30}, "became nan at step 2 (epoch 1); no epoch was completed"),
    ],
)
def test_what_is_wrong_for_all_is_said_by_all(ranks, tmp_path, options, message):
    codes, said = ranks(tmp_path, arguments(tmp_path / "run", **options))
    assert codes == [2, 2]
    for rank, text in enumerate(said):
        assert text.splitlines()[-1].startswith(f"rank {rank}: error: ")
        assert message in text


def test_more_ranks_than_rows_of_a_batch(ranks, tmp_path):
    codes, said = ranks(tmp_path, arguments(tmp_path / "run", **{"train.batch_size": 2}), ranks=3)
    assert codes == [2, 2, 2]
    assert "set train.batch_size to at least 3" in said[0]


def test_processes_with_other_data_are_told_apart(ranks, tmp_path):
    (tmp_path / "other.py").write_text(
        "import os\nfrom tests.toys import Toy, ToyConfig\n"
        "class Other(Toy):\n    Config = ToyConfig\n    def __init__(self, config):\n"
        "        super().__init__(config.model_copy(update={'data_seed': int(os.environ['RANK'])}))\n"
    )
    words = arguments(tmp_path / "run")
    words[words.index("--pair") + 1] = f"{tmp_path / 'other.py'}:Other"
    codes, said = ranks(tmp_path, words)
    assert codes == [2, 2]
    assert all("the 2 processes do not have the same configuration and data" in text for text in said)


def test_torchrun_starts_and_stops_them(tmp_path):
    """The launcher itself, as documented; an error of all ranks makes it fail. Each process imports torch."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "datk"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}

    def launch(*words):
        return subprocess.run(
            [*launcher, *words], env=environment, capture_output=True, text=True, timeout=140, check=False
        )

    done = launch(*arguments(tmp_path / "run", epochs=1))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("run folder: ") == 1
    assert datk.read_result(tmp_path / "run").epochs == 1
    failed = launch("bench", "deepmerge-ii")
    assert failed.returncode == 1
    assert "error: datk bench starts processes itself; leave torchrun away" in failed.stderr


# --- parts ---------------------------------------------------------------------------------------------


def test_a_single_process_has_it_all(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert (processes.size(), processes.rank(), processes.leads()) == (1, 0, True)
    assert torch.equal(processes.share(torch.arange(6).view(2, 3)), torch.arange(6).view(2, 3))
    assert processes.agree("runs/x") == "runs/x"
    assert processes.own_device("cuda:3") == "cuda:3"
    with processes.joined("cpu"):
        processes.wait()
        processes.demand_same("a", "letter")
        assert processes.size() == 1


def test_a_share_is_a_part_of_every_batch(monkeypatch):
    plan = torch.arange(24).view(2, 12)
    monkeypatch.setattr(processes, "size", lambda: 3)
    shares = []
    for rank in range(3):
        monkeypatch.setattr(processes, "rank", lambda rank=rank: rank)
        shares.append(processes.share(plan))
    assert torch.equal(torch.cat(shares, dim=1), plan)
    assert {share.shape for share in shares} == {(2, 4)}
    assert [len(part) for part in processes.parts(range(10))] == [3, 3, 4]
    assert [len(part) for part in processes.parts(range(2))] == [0, 1, 1]


def test_devices_of_several_processes(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert processes.own_device("cpu") == "cpu"
    with pytest.raises(ConfigError, match="cuda:0 is one device for several processes"):
        processes.own_device("cuda:0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert processes.own_device("auto") == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert processes.own_device("auto") == processes.own_device("cuda") == "cuda:1"
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ConfigError, match=r"process 2 has no GPU: there are 1 CUDA device; lower"):
        processes.own_device("auto")


def test_processes_that_are_not_there_are_not_waited_for(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(RunError, match="the other processes cannot be reached"), processes.joined("cpu"):
        pass
