"""One profile of hypothesis for all tests."""

from pathlib import Path

from hypothesis import settings


def test_the_deadline_is_set_once():
    assert settings.default.deadline is None
    saying = [path.name for path in Path(__file__).parent.rglob("*.py") if "deadline=" in path.read_text()]
    assert sorted(saying) == ["conftest.py", "test_hypothesis.py"]
