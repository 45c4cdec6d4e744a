"""What an earlier datk stored, for tests; see tests/fixtures/earlier/README.md."""

import json
import shutil
from pathlib import Path

import safetensors.torch

from datk.bench import sweep
from datk.bench.suite import read_suite

EARLIER = Path(__file__).parent / "fixtures" / "earlier"
CELLS = ["toys/none", "toys/none", "toys/mmd", "toys/mmd"]
COMPLETE = [
    path.parent.relative_to(EARLIER)
    for path in sorted(EARLIER.rglob("result.json"))
]  # fmt: skip
INTERRUPTED = [Path("runs/interrupted"), Path("runs/interrupted-last")]


def copy_to(folder):
    """The stored folders in another one."""
    shutil.copytree(EARLIER, folder, dirs_exist_ok=True)


def read(path):
    return json.loads(Path(path).read_text())


def edit(path, change):
    """Change JSON in place, by a function of what is in it."""
    content = read(path)
    change(content)
    Path(path).write_text(json.dumps(content))


def epochs(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record.get("kind") == "epoch"]


def bench(out="runs/bench", **options):
    return sweep.run_suite(read_suite("suite.toml")[1], (0, 1), Path(out), **options)


def statuses(outcomes):
    return [outcome.status if not outcome.error else outcome.error for outcome in outcomes]


def selected(folder):
    return safetensors.torch.load_file(Path(folder) / "checkpoints" / "selected.safetensors")
