"""Commands that nobody would write by hand: `python -m tests.bad_input.generated --count 500 --seed 0`.

Each is drawn from its number alone: flags and options of all that is installed, with values that their types
allow and with others. It has to end as a run, or with exit code 2 and one line that says what to mend; never
as a fault of datk. Prints every command that does not; `--only N` repeats one of them.
"""

import argparse
import contextlib
import io
import json
import os
import random
import re
import shlex
import shutil
import signal
import sys
import tempfile
import types
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

import numpy as np
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from datk.cli.main import main as cli
from datk.config import plugins
from datk.config.models import DataConfig, RunConfig, TrainConfig
from datk.training.loop import Trainer

SECONDS = 60
"""After which a command that is still at it counts as a run."""

EPOCHS = 2
"""Likewise."""

WILD = [
    "", " ", "0", "1", "-1", "2", "3.5", "1e-320", "1e308", "1e400", "nan", "inf", "-inf", "true", "null",
    "none", str(2**31), str(2**63), "1" + "0" * 400, "9" * 5000, "0x10", "1_0", " 3 ", "+3", "٣", "[", "]",
    "{", "}", "[]", "{}", "[1]", "[1, 2]", "[0.7, 0.1, 0.2]", "[1, 'a']", "[[1]]", "[" * 300, "{a = 1}",
    '{name = "mmd"}', "{name = 1}", "'", '"', "'x'", '"x"', "a=b", "=", "a.b", "x", "x" * 3000, "é", "星",
    "\x1b[2J", "\n", "\t", "\udcff", "\u202e", "..", ".", "/", "/dev/null", "~", "~nobody/x", "tiny.npz",
    "absent.npz", "tiny.npz:source_x", "mmd,mmd", "mmd,,coral", "datk:mmd", "nobody:mmd", "./own.py:Own",
    "./own.py", "./own.py:Absent", "absent.py:X", "%s", "{0}", "1979-05-27", "--help", "0-4", "1,2", "5-1",
    "cpu", "cuda", "cuda:7", "meta", "oracle", "last",
]  # fmt: skip
"""Values that are good for a few options and bad for the rest."""

FILES = {
    "good.toml": 'backbone = "mlp"\n[train]\nepochs = 1\n',
    "empty.toml": "",
    "odd.toml": "align = 3\n",
    "nested.toml": "train = [1]\n[pair]\nname = [1]\n",
    "deep.toml": "a = " + "[" * 20_000,
    "broken.toml": "[train",
    "binary.toml": "\x00\x01",
    "good.json": '{"train": {"epochs": 1}}',
    "deep.json": "[" * 100_000,
    "list.json": "[1]",
    "huge.json": '{"seed": 1' + "0" * 400 + "}",
    "suite.toml": 'title = "T"\nseeds = [0]\n[[table]]\nname = "t"\ntitle = "T"\n[[cell]]\nname = "c"\n',
    "own.py": "from datk.interfaces import Regularizer\n\nclass Own(Regularizer):\n"
    "    def forward(self, source, target, step):\n        return source.features.mean() * 0\n",
    "raises.py": "raise ValueError('no')\n",
    "hook.py": "from datk.interfaces import hookimpl\n\n@hookimpl\n"
    "def run_finished(result):\n    raise ValueError('no')\n",
}
"""What lies about."""


class Enough(BaseException):
    """The command has become a run; passes through everything that catches errors."""


class Verdict(NamedTuple):
    """What became of a command."""

    fault: str | None
    """Why it must not have ended so."""
    kind: str
    """`run`, `done` or `told`."""


# --- values --------------------------------------------------------------------------------------------


def value(field: FieldInfo, draw: random.Random) -> str:
    """Mostly one that the type allows."""
    if draw.random() < 0.3:
        return draw.choice(WILD)
    return written(fitting(field.annotation, field.metadata, draw))


def fitting(annotation: Any, metadata: list[Any], draw: random.Random) -> Any:
    """A value of a type, as far as it says what it takes."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return fitting(arguments[0], [*metadata, *arguments[1:]], draw)
    if origin is Literal:
        return draw.choice(arguments)
    if origin in (Union, types.UnionType):
        return fitting(draw.choice([a for a in arguments if a is not type(None)]), metadata, draw)
    if origin in (tuple, list):
        inner = [a for a in arguments if a is not Ellipsis] or [str]
        count = draw.randint(0, 3) if origin is list or Ellipsis in arguments else len(inner)
        return [fitting(inner[k % len(inner)], [], draw) for k in range(count)]
    low = max((getattr(m, "ge", None) or getattr(m, "gt", None) or 0 for m in metadata), default=0)
    if annotation is bool:
        return draw.choice([True, False])
    if annotation is int:
        return low + draw.choice([0, 1, 2, 3, 16])
    if annotation is float:
        return draw.choice([low, low + 0.1, low + 0.5, 1.0, 1e-3])
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {}
    return draw.choice([*WILD, "mlp", "last", "source_x", "tiny.npz", "datk:oracle"])


def written(content: Any) -> str:
    """As `--set` takes it."""
    return content if isinstance(content, str) else json.dumps(content)


# --- commands ------------------------------------------------------------------------------------------


def components() -> dict[str, dict[str, type[BaseModel]]]:
    """Name -> its options, by kind."""
    return {
        kind: {plugin.label: plugins.load(plugin).Config for plugin in plugins.find(kind)}
        for kind in plugins.COMPONENTS
    }


def names(kind: str, draw: random.Random, several: bool = False) -> str:
    """Of one component, or of several; now and then nobody's."""
    if draw.random() < 0.1:
        return draw.choice(WILD)
    known = [plugin.name for plugin in plugins.find(kind)]
    return ",".join(draw.sample(known, draw.choice([1, 1, 1, 2]) if several else 1))


def overrides(
    known: dict[str, dict[str, type[BaseModel]]], chosen: dict[str, str], draw: random.Random
) -> list[str]:
    """`--set` of any options, most often of what is chosen."""
    sections: list[tuple[str, type[BaseModel]]] = [
        ("train", TrainConfig),
        ("data", DataConfig),
        ("", RunConfig),
    ]
    for kind, section in (("pair", "pair"), ("backbone", "backbone"), ("task", "task")):
        if chosen.get(kind) in known[kind]:
            sections.append((section, known[kind][chosen[kind]]))
    for kind, section in (("alignment", "align"), ("regularizer", "reg")):
        for name in chosen.get(kind, "").split(","):
            if name in known[kind]:
                sections.append((f"{section}.{name}", known[kind][name]))
    words = []
    for _ in range(draw.choice([0, 0, 1, 1, 2, 3])):
        section, model = draw.choice([each for each in sections if each[1].model_fields])
        name = draw.choice(list(model.model_fields))
        key = f"{section}.{name}" if section else name
        if draw.random() < 0.05:
            key = draw.choice(
                [key + "s", key.upper(), f"{key}.x", f'"{key}"', "", "." + key, key + "=", "train"]
            )
        words += ["--set", f"{key}={value(model.model_fields[name], draw)}"]
    return words


BASE = [
    "--set", "pair.source=tiny.npz", "--set", "pair.target=tiny.npz", "--set", "pair.source_x=source_x",
    "--set", "pair.source_y=source_y", "--set", "pair.target_x=target_x", "--set", "pair.target_y=target_y",
]  # fmt: skip


SMALL = ["--set", "train.batch_size=16", "--device", "cpu"]


def composition(known: dict[str, dict[str, type[BaseModel]]], draw: random.Random) -> list[str]:
    """The flags that choose what is run."""
    chosen = {
        "pair": "arrays",
        "backbone": "mlp",
        "alignment": "mmd",
        "regularizer": "",
        "task": "classification",
    }
    if draw.random() < 0.3:
        chosen["backbone"] = names("backbone", draw)
    if draw.random() < 0.5:
        chosen["alignment"] = names("alignment", draw, several=True)
    if draw.random() < 0.5:
        chosen["regularizer"] = names("regularizer", draw, several=True)
    if draw.random() < 0.1:
        chosen["pair"] = names("pair", draw)
    words = ["--pair", chosen["pair"], "--backbone", chosen["backbone"], "--align", chosen["alignment"]]
    words += ["--reg", chosen["regularizer"]] if chosen["regularizer"] else []
    if draw.random() < 0.15:
        chosen["task"] = names("task", draw)
        words += ["--set", f"task={chosen['task']}"]
    words += ["--epochs", draw.choice(WILD) if draw.random() < 0.03 else draw.choice("1112")]
    words += BASE if chosen["pair"] == "arrays" else []
    words += SMALL
    for flag, good in (
        ("--config", list(FILES)), ("--recipe", ["simsim-none", *FILES]), ("--init", ["run", "done"]),
        ("--seed", ["0", "1", "0,1"]), ("--device", ["cpu", "auto"]), ("--backbone", ["mlp"]),
    ):  # fmt: skip
        if draw.random() < 0.06:
            words += [flag, draw.choice(good) if draw.random() < 0.7 else draw.choice(WILD)]
    return [*words, *overrides(known, chosen, draw)]


def command(known: dict[str, dict[str, type[BaseModel]]], seed: int, number: int) -> list[str]:
    """The command of a number."""
    draw = random.Random(f"{seed} {number}")
    wild = draw.choice(WILD)
    kind = draw.choices(["run", "config", "plugins", "data", "bench", "odd"], [70, 10, 6, 8, 4, 2])[0]
    if kind == "run":
        words = ["run", *composition(known, draw)]
        places = ["run", "run", "done", "done", "new/run", "tiny.npz", ".", wild]
        words += ["--out", draw.choice(places)] if draw.random() < 0.7 else []
        words += ["--hook", draw.choice(["hook.py", "raises.py", wild])] if draw.random() < 0.1 else []
        return words + [flag for flag in ("--resume", "--force", "--quiet") if draw.random() < 0.15]
    if kind == "config":
        return ["config", "show", *composition(known, draw)]
    if kind == "plugins":
        every = [plugin.name for kind in plugins.KINDS for plugin in plugins.find(kind)]
        name = draw.choice([*every, *FILES, wild])
        return ["plugins", *draw.choice([[], ["show", name], ["show", wild], ["check", wild], [wild]])]
    if kind == "data":
        pair = draw.choice(["arrays", "illustris-simsim", "mock-mergers", wild])
        return ["data", *draw.choice([
            ["list"], ["show", pair],
            ["fetch", pair, "--from", draw.choice([".", "absent", "tiny.npz", wild or "x"])],
            ["mock", draw.choice(["deepmerge-ii", wild]), "--out", draw.choice([".", "m"]), "--scale", wild],
            ["audit", "arrays", *BASE, *overrides(known, {"pair": "arrays"}, draw)],
        ])]  # fmt: skip
    if kind == "bench":
        suite = draw.choice(["suite.toml", *FILES, wild])
        options = draw.choice(
            [["--epochs", wild], ["--seeds", wild], ["--jobs", wild], ["--set", f"train.lr={wild}"]]
        )
        return ["bench", suite, "--seeds", "1", "--set", "device=cpu", "--set", "pair.n=0", *options]
    return draw.choice(
        [[wild], ["run", wild], ["run", f"--{wild}"], ["run", "--set"], ["--version", wild], [wild, wild]]
    )


# --- what becomes of them ------------------------------------------------------------------------------


def prepare(folder: Path) -> None:
    """Write what the commands name."""
    draw = np.random.default_rng(0)
    labels = np.arange(48) % 2
    images = draw.normal(size=(2, 48, 3, 16, 16)).astype(np.float32)
    arrays = {"source_x": images[0], "target_x": images[1], "source_y": labels, "target_y": labels}
    np.savez(folder / "tiny.npz", **arrays)
    for name, text in FILES.items():
        (folder / name).write_text(text)
    with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()):
        cli(
            [
                "run",
                "--pair",
                "arrays",
                "--backbone",
                "mlp",
                "--epochs",
                "1",
                *BASE,
                *SMALL,
                "--quiet",
                "--out",
                "done",
            ]
        )


@contextlib.contextmanager
def limited() -> Iterator[None]:
    """Let no command take long: after some epochs or seconds it counts as a run."""
    train_epoch, done = Trainer.train_epoch, []

    def counted(self: Trainer) -> None:
        train_epoch(self)
        done.append(self.epoch)
        if len(done) > EPOCHS:
            raise Enough

    def over(*_: object) -> None:
        raise Enough

    before = signal.signal(signal.SIGALRM, over)
    Trainer.train_epoch = counted  # type: ignore[method-assign]
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        Trainer.train_epoch = train_epoch  # type: ignore[method-assign]


def tried(words: list[str]) -> Verdict:
    """Give a command in the current folder."""
    code: Any = 0
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        warnings.catch_warnings(),
        limited(),
    ):
        try:
            cli(words)
        except SystemExit as stop:
            code = stop.code
        except Enough:
            return Verdict(None, "run")
        except BaseException as error:
            return Verdict(f"raises {error!r}"[:500], "fault")
    return judged(words, code, out.getvalue(), err.getvalue())


def judged(words: list[str], code: Any, out: str, err: str) -> Verdict:
    """Whether a command may have ended so."""
    lines = [line for line in err.splitlines() if not line.startswith(("warning: ", "note: "))]
    if "internal error" in err or "Traceback" in out + err:
        return Verdict(err[-700:], "fault")
    if re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", out + err):
        return Verdict(f"steers the terminal: {(out + err)[-300:]!r}", "fault")
    if code == 0:
        return Verdict(None, "run" if words[:1] == ["run"] else "done")
    # A failing cell of a suite, and a finding of an audit, are what these commands are for.
    if code == 1 and (words[0] == "bench" or words[:2] == ["data", "audit"]):
        return Verdict(None, "done")
    if code != 2:
        return Verdict(f"exit code {code}: {err[-500:]}", "fault")
    begun = any("epochs, " in line for line in lines)
    if (
        not lines
        or not lines[-1].startswith("error: ")
        or (len(lines) > 1 and not begun and words[0] != "plugins")
    ):
        return Verdict(f"more or less than a line: {err[-700:]}", "fault")
    return Verdict(None, "told")


def in_a_folder_of_its_own(words: list[str], data: Path) -> Verdict:
    """Give a command where the data lie and nothing else does."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(data, folder, dirs_exist_ok=True)
        with contextlib.chdir(folder):
            return tried(words)


def main() -> None:
    """Try commands; exit code 1 if one of them ends as it must not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int)
    asked = parser.parse_args()
    known, kinds, faults = components(), dict.fromkeys(("run", "done", "told", "fault"), 0), 0
    os.environ["DATK_DATA_DIR"] = "fetched"
    with tempfile.TemporaryDirectory() as data:
        prepare(Path(data))
        numbers = range(asked.first, asked.first + asked.count) if asked.only is None else [asked.only]
        for number in numbers:
            words = command(known, asked.seed, number)
            verdict = in_a_folder_of_its_own(words, Path(data))
            kinds[verdict.kind] += 1
            if verdict.fault is not None:
                faults += 1
                print(f"{number}: datk {shlex.join(words)[:1000]!r}\n    {verdict.fault!r}", flush=True)
            elif asked.only is not None:
                print(f"datk {shlex.join(words)[:1000]!r}: {verdict.kind}")
    print(kinds)
    sys.exit(faults > 0)


if __name__ == "__main__":
    main()
