"""How well the classes' shares in the target are estimated without its labels.

    python benchmarks/defaults/shares.py RUN...

Each RUN is the folder of a source-only run whose target has labels. A line gives the total variation between
the true shares among the target's test rows and: those of the source, and three estimates from what the
network says of the same rows. The last line has the means.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean

import torch

from datk.runs import outputs
from datk.runs.result import read_result
from datk.training.label_shift import (
    bbse_shares,
    distance,
    em_shares,
    predicted_shares,
    shares,
    temperature,
)

WIDTH = 40


def errors(folder: Path) -> dict[str, float]:
    """The total variation of each estimate."""
    result, said = read_result(folder), outputs.read(folder)
    validation, test = said["source", "validation"], said["target", "test"]
    assert validation.labels is not None
    assert test.labels is not None
    logits, labels = torch.from_numpy(validation.logits), torch.from_numpy(validation.labels)
    of_rows, answers = torch.from_numpy(test.logits), torch.from_numpy(test.labels)
    counts = torch.tensor(list(result.class_counts["source"]["train"].values()), dtype=torch.float64)
    of_source, truth = counts / counts.sum(), shares(answers, len(counts))
    certain = temperature(logits, labels)
    found = {
        "source": of_source,
        "predicted": predicted_shares(of_rows, certain),
        "em": em_shares((of_rows / certain).softmax(dim=1), of_source),
        "bbse": bbse_shares(logits, labels, of_rows, of_source),
    }
    return {name: distance(estimate, truth) for name, estimate in found.items()}


def table(folders: list[Path]) -> Iterator[str]:
    """A line for each run, between a header and the means."""
    measured = {folder.name: errors(folder) for folder in folders}
    names = list(next(iter(measured.values())))
    yield " " * WIDTH + "".join(f"{name:>11}" for name in names)
    means = {name: fmean(each[name] for each in measured.values()) for name in names}
    for title, each in [*measured.items(), ("mean", means)]:
        yield f"{title:<{WIDTH}}" + "".join(f"{each[name]:11.3f}" for name in names)


if __name__ == "__main__":
    for line in table([Path(folder) for folder in sys.argv[1:]]):
        print(line)
