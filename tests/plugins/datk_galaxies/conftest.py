"""A miniature of DeepMerge II's record, written and fetched once."""

import numpy as np
import pytest

from datk.data.published.fetch import fetch
from datk_galaxies import mock_record
from datk_galaxies.deepmerge_record import SIMREAL, SIMSIM

MERGERS, OTHERS = 8, 37
"""Galaxies of the simulated pair at this scale; one of them has two cameras."""


@pytest.fixture(scope="session")
def mock_folder(tmp_path_factory):
    """The published files at a scale of 0.02."""
    folder = tmp_path_factory.mktemp("mock")
    mock_record.write(folder, 0.02, 0)
    return folder


@pytest.fixture(scope="session")
def published(mock_folder):
    """Reads an array of the miniature: `published(SIMSIM, "source/x")`."""

    def read(record, key):
        return np.load(mock_folder / record.files[key].name, mmap_mode="r", allow_pickle=False)

    return read


@pytest.fixture(scope="session")
def fetched(mock_folder, tmp_path_factory):
    """The data folder with both records of the miniature."""
    folder = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATK_DATA_DIR", str(folder))
        for record in (SIMSIM, SIMREAL):
            fetch(record, str(mock_folder))
    return folder


@pytest.fixture(scope="session")
def galaxies():
    """Galaxy of each row of the simulated pair, counted by hand."""
    block = np.repeat(np.arange(MERGERS), 4)
    cameras = [2 if number == 30 else 4 for number in range(OTHERS)]
    return np.concatenate([np.tile(block, 5), MERGERS + np.repeat(np.arange(OTHERS), cameras)])
