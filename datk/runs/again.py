"""Whether a completed run's scores are still those of the target's labels, which may have been corrected."""

import zipfile
from pathlib import Path

import numpy as np

from datk.config.resolve import Experiment
from datk.interfaces import DomainPair
from datk.runs.evaluate import answers_checksum
from datk.runs.result import RunResult

CORRECTED = "the target's labels have changed since the run was trained: it was scored again by those of now"


def labels_changed(done: RunResult, experiment: Experiment, pair: DomainPair) -> bool:
    """Whether the pair has other labels now of rows by which a completed run was scored, or its epoch chosen.

    It raises whatever the pair raises that is asked for them. Runs of the first versions, which recorded no
    checksum, count as done.
    """
    checksums = {"target_test": done.answers_sha256, "target_validation": done.selection_sha256}
    recorded = {part: checksum for part, checksum in checksums.items() if checksum is not None}
    predicts_classes = experiment.task.cls.predicts_classes
    return any(
        checksum != answers_checksum(pair, predicts_classes, rows)
        for part, checksum in recorded.items()
        if (rows := _rows(done.folder, part)) is not None
    )


def _rows(folder: Path, part: str) -> np.ndarray[tuple[int], np.dtype[np.int64]] | None:
    """Rows of a part of a run, None where that cannot be read."""
    try:
        with np.load(folder / "splits.npz", allow_pickle=False) as recorded:
            rows: np.ndarray[tuple[int], np.dtype[np.int64]] = recorded[part]
            return rows
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None
