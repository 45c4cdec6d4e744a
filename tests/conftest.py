"""Shared fixtures: few threads, tiny data."""

import os
from pathlib import Path

import pytest
import torch

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(autouse=True, scope="session")
def _few_threads():
    torch.set_num_threads(int(os.environ.get("DATK_TEST_THREADS", "2")))


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    """Runs without --out write to runs/ below the current folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def real_data():
    """Folder of real data sets, which are not part of the project."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no real data in {SHARED_DATA}")
    return SHARED_DATA
