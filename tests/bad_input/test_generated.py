"""A sample of the generated commands; all of them: `python -m tests.bad_input.generated --count 500`."""

import shlex

import pytest

from tests.bad_input import generated

SAMPLE = range(1000, 1025)


@pytest.fixture(scope="module")
def known():
    return generated.components()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    generated.prepare(folder)
    return folder


@pytest.mark.parametrize("number", SAMPLE)
def test_a_command_is_a_run_or_is_told_what_to_mend(number, known, data, monkeypatch):
    monkeypatch.setenv("DATK_DATA_DIR", "fetched")
    words = generated.command(known, 0, number)
    verdict = generated.in_a_folder_of_its_own(words, data)
    assert verdict.fault is None, shlex.join(words)


def test_commands_are_of_all_kinds(known):
    """Each is drawn from its number, and many differ."""
    drawn = [tuple(generated.command(known, 0, number)) for number in range(300)]
    assert drawn == [tuple(generated.command(known, 0, number)) for number in range(300)]
    assert len(set(drawn)) > 280
    assert {words[0] for words in drawn} >= {"run", "config", "plugins", "data", "bench"}
    assert {"--resume", "--force", "--init", "--recipe", "--config", "--seed", "--out"} <= {
        w for d in drawn for w in d
    }


@pytest.mark.parametrize(
    ("code", "out", "err", "good"),
    [
        (0, "", "", True),
        (2, "", "error: no\n", True),
        (2, "", "warning: w\nerror: no\n", True),
        (2, "", "run: 1 epochs, 3 steps\nepoch 1\nerror: no\n", True),
        (2, "", "one\nerror: no\n", False),
        (2, "", "", False),
        (1, "", "error: no\n", False),
        (1, "", "internal error: x\n", False),
        (2, "", "Traceback (most recent call last)\nerror: no\n", False),
        (0, "\x1b[2J", "", False),
        (130, "", "\n", False),
    ],
)
def test_what_a_command_may_end_with(code, out, err, good):
    assert (generated.judged(["run"], code, out, err).fault is None) == good
