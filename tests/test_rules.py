"""Rules of the code that no other test would notice to be broken."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
LINE = ("base", "interfaces", "nn", "config", "data", "training", "runs", "bench", "testing", "cli")
"""The rooms. `nn` and `testing` stand beside the line of the others, where their imports let them."""
PUBLIC = {
    "datk.interfaces",
    "datk.nn",
    "datk.testing",
    "datk.data.readers",
    "datk.data.duplicates",
    "datk.data.published.records",
}
TREE = [
    path
    for folder in ("datk", "plugins", "examples", "benchmarks", "tests")
    for path in (ROOT / folder).rglob("*.py")
]
CORE = [path for path in TREE if path.is_relative_to(ROOT / "datk")]
PLUGINS = [path for path in TREE if path.is_relative_to(ROOT / "plugins")]
SHIPPED = CORE + PLUGINS


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path: Path) -> Iterator[str]:
    """Modules that a file imports; `from datk import nn` counts as `datk.nn`."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}: imports are absolute"
            module = str(node.module)
            yield from (f"datk.{alias.name}" for alias in node.names) if module == "datk" else (module,)


def names_used(path: Path) -> Iterator[str]:
    """Names that a file imports from a module, without those of modules."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.ImportFrom):
            yield from (alias.name for alias in node.names)


def calls(path: Path) -> Iterator[tuple[str, dict[str, ast.expr]]]:
    """What a file calls, as it is written, with the keyword arguments."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), {str(keyword.arg): keyword.value for keyword in node.keywords}


def is_constant(node: ast.expr | None, value: object) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def test_a_room_imports_only_rooms_to_its_left():
    upwards = []
    for room in LINE:
        allowed = {*LINE[: LINE.index(room) + 1], "__init__"}
        for path in (ROOT / "datk" / room).rglob("*.py"):
            used = {name.split(".")[1] for name in imports(path) if name.startswith("datk.")}
            upwards += [(name_of(path), other) for other in sorted(used - allowed)]
    assert upwards == []
    assert {path.parts[len(ROOT.parts) + 1] for path in CORE} == {*LINE, "__init__.py", "__main__.py"}


def test_shipped_plugins_use_the_public_interface_only():
    private = []
    for path in PLUGINS:
        package = path.relative_to(ROOT / "plugins").parts[0]
        ours = {name for name in imports(path) if name.startswith("datk")} - PUBLIC
        private += [(name_of(path), name) for name in ours if name.partition(".")[0] != package]
    assert private == []


def test_only_evaluation_asks_for_target_labels():
    """The conformance checks do, too: of toys, and to see that a pair gives what it is asked for."""
    readers = {name_of(path) for path in SHIPPED for name, _ in calls(path) if name.endswith(".answers")}
    assert {name for name in readers if not name.startswith("datk/testing/")} == {"datk/runs/evaluate.py"}
    definitions = {"datk/interfaces/pairs.py"}
    mentions = {name_of(path) for path in CORE if "answers(" in path.read_text(encoding="utf-8")}
    assert {name for name in mentions - definitions if not name.startswith("datk/testing/")} == {
        "datk/runs/evaluate.py"
    }


def test_training_never_names_the_answers():
    naming = {
        name_of(path)
        for path in CORE
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Attribute) and node.attr == "answers"
    }
    assert "datk/runs/evaluate.py" in naming
    assert [name for name in naming if name.startswith(("datk/data/", "datk/training/"))] == []
    holders = [path for path in CORE if "Dataset" in {*names_used(path)} and "training" in path.parts]
    assert holders == [], "from a dataset one comes to the pair"


def test_nothing_is_unpickled():
    unsafe = []
    for path in TREE:
        for name, keywords in calls(path):
            if name.startswith(("pickle.load", "pickle.Unpickler")):
                unsafe.append((name_of(path), name))
            if name == "torch.load" and not is_constant(keywords.get("weights_only"), True):
                unsafe.append((name_of(path), "torch.load without weights_only=True"))
            if name in ("np.load", "numpy.load") and "allow_pickle" in keywords:
                unsafe += [(name_of(path), name)] * (not is_constant(keywords["allow_pickle"], False))
        unsafe += [
            (name_of(path), name) for name in imports(path) if name in ("joblib", "dill", "cloudpickle")
        ]
    assert unsafe == []


def test_only_the_console_knows_rich():
    users = {
        name_of(path.parent)
        for path in SHIPPED
        if any(name.partition(".")[0] == "rich" for name in imports(path))
    }
    assert users == {"datk/cli/console"}


def test_only_the_console_and_the_reports_print():
    printing = {name_of(path) for path in SHIPPED for name, _ in calls(path) if name == "print"}
    assert {name for name in printing if not name.startswith("datk/cli/console/")} == {
        "datk/training/report.py"
    }


def test_finding_plugins_needs_the_standard_library_only():
    allowed = {*sys.stdlib_module_names, "datk"}
    for module in (
        "config/plugins.py",
        "config/__init__.py",
        "base/errors.py",
        "base/__init__.py",
        "__init__.py",
    ):
        assert {name.partition(".")[0] for name in imports(ROOT / "datk" / module)} <= allowed


def test_numpy_is_seeded_nowhere_and_torch_where_its_state_is_put_back():
    called = {(name_of(path), name) for path in SHIPPED for name, _ in calls(path) if name.endswith("seed")}
    assert [name for _, name in called if name.startswith(("np.", "numpy.", "random."))] == []
    global_seeds = {file for file, name in called if name.startswith("torch.") and "Generator()" not in name}
    assert {name for name in global_seeds if not name.startswith("datk/testing/")} == {"datk/base/rng.py"}


def test_files_are_short():
    long = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in TREE}
    assert {name: lines for name, lines in long.items() if lines > 400} == {}
