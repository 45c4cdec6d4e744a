"""Prediction, t-SNE input and evaluation against forward passes alone."""

from collections.abc import Iterator

import numpy as np
import torch

from benchmarks.speed.harness import Row, Setting, interleaved, ratio, spreads
from benchmarks.speed.subjects import METHODS, Run
from datk.runs.evaluate import evaluate
from datk.training.predict import embed, predict

ROWS = {False: 4_000, True: 15_426}
TSNE_ROWS = 2_000


def measure(setting: Setting) -> Iterator[Row]:
    """Rates in images per second, in units of the rate of forward passes on one and the same batch."""
    run = Run(METHODS["mmd"], setting, ROWS[setting.full])
    data, backbone = run.data, run.trainer.objective.backbone
    target, rows = data.training.target, np.arange(ROWS[setting.full])
    size = target.evaluation_batch
    batch, _ = next(target.in_order(rows[:size]))

    def forward(images: int) -> None:
        with torch.inference_mode():
            backbone.eval()
            for _ in range(images // size):
                backbone(batch)
            if rest := images % size:
                backbone(batch[:rest])

    parts = (data.splits.source.validation, data.splits.source.test)
    scored = sum(map(len, parts))
    cases = {
        "prediction": (lambda: predict(backbone, target, rows), len(rows)),
        "t-SNE input": (lambda: embed(backbone, target, rows[:TSNE_ROWS]), TSNE_ROWS),
        "evaluation": (lambda: evaluate(backbone, data), scored),
    }
    for name, (work, images) in cases.items():
        times = interleaved({name: work, "forward": lambda n=images: forward(n)}, setting)
        yield Row(
            f"{name} of {images} images, rate over that of forward passes alone",
            ratio(times, "forward", name),
            at_least=0.9,
            seconds=spreads(times),
        )
