"""The only reader of target labels."""

import numpy as np
import numpy.typing as npt

from datk.data import Dataset, Domain
from datk.errors import DataError, RunError
from datk.inference import predict
from datk.interfaces import Backbone
from datk.metrics import Metrics, score, softmax


def evaluate(backbone: Backbone, dataset: Dataset) -> dict[str, dict[str, Metrics]]:
    """Metrics on the source's validation and test rows and on the target's test rows.

    `target` is empty where the pair knows no target labels.

    Raises:
        DataError: answers that are no classes of the pair.
        RunError: an output of the network that is not finite.
    """
    source, target = dataset.training.source, dataset.training.target

    def scored(domain: Domain, rows: npt.NDArray[np.int64], labels: npt.NDArray[np.int64]) -> Metrics:
        logits = predict(backbone, domain, rows)
        if bad := int((~np.isfinite(logits)).any(axis=1).sum()):
            raise RunError(
                f"the network's output is not finite for {bad} of {len(rows)} rows of the {domain.name}; "
                "look for extreme values there, or lower train.lr"
            )
        return score(softmax(logits), labels)

    result: dict[str, dict[str, Metrics]] = {
        "source": {
            part: scored(source, rows, dataset.pair.source_labels[rows])
            for part, rows in (("validation", source.split.validation), ("test", source.split.test))
        },
        "target": {},
    }
    answers = dataset.pair.answers(target.split.test)
    if answers is not None:
        if answers.shape != target.split.test.shape:
            raise DataError(
                f"target: {len(target.split.test)} test rows but labels of shape {list(answers.shape)}"
            )
        if answers.min() < 0 or answers.max() >= len(dataset.info.classes):
            raise DataError(f"target: labels must lie in 0..{len(dataset.info.classes) - 1}")
        result["target"]["test"] = scored(target, target.split.test, answers)
    return result
