"""What a completed run found: the content of result.json."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationError

from datk.base.errors import RunError
from datk.base.files import read_json
from datk.base.version import __version__
from datk.runs.alarms import Alarm
from datk.runs.labels import Counts
from datk.runs.metrics import Metrics


class Candidate(BaseModel):
    """One of the runs of `--align auto`."""

    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True)

    name: str
    """Its folder in candidates/."""
    information: float | None = None
    """Of its predictions for the target's training rows, D - H in nats, see
    `datk.training.label_shift.information`; None where numbers are predicted, and where it failed."""
    votes: bool
    """Whether its predictions count."""
    why: str = ""
    """Why they do not."""


class Vote(BaseModel):
    """How the runs of `--align auto` came to one prediction. No target label had a part in it."""

    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True)

    candidates: list[Candidate]
    """All that were considered, source-only first."""
    veto: float | None
    """Part of source-only's information that the predictions of a candidate must have; None where numbers are
    predicted, of which there is none."""
    reason: str
    """All of this on a line."""


class RunResult(BaseModel):
    """What a completed run found, and the folder it lies in.

    A key that this version of datk does not know, because a later one wrote it, is kept as it is.
    """

    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True)

    datk: str
    """Version of datk."""
    pair: str
    backbone: str
    align: str
    """Alignments, joined by commas; `none` for the source-only baseline."""
    reg: list[str]
    task: str = "classification"
    seed: int
    split: str
    """Rule of the split, see `datk.data.splits`."""
    standardize: str = "per-domain"
    """By which constants samples were standardised, see `datk.data.constants`."""
    selected_by: str
    """Selector that chose the epoch."""
    uses_target_labels: bool
    """Whether that selector was given target labels."""
    epochs: int
    """Epochs that were trained."""
    selected_epoch: int
    """Epoch (from 1) whose weights were kept."""
    seconds: float
    """Time of training, interruptions left out."""
    seconds_per_epoch: float
    device: str
    threads: int | None = None
    """Threads of torch on the CPU at the last start; sums are rounded otherwise with another number. None in
    results of the first versions."""
    weights_sha256: str
    """Checksum of the kept weights, see `datk.training.checkpoints.weights_checksum`."""
    data_sha256: str
    """Checksum of the training data, see `datk.data.inspection`."""
    metrics: dict[str, dict[str, Metrics]]
    """By domain and part; `target` is empty if the pair has no target labels. Several sources are scored
    together as `source`, and each by itself as `source: NAME`."""
    hooks: list[dict[str, str]] = []
    """Hooks that were told of the run, at any of its starts: `name`, `distribution` and `version` of an
    installed one, `file` and `sha256` of a file. They are code that ran beside the run."""
    classes: list[str] = []
    """Names of the classes in the order of their numbers; empty for a regression, and in results of the first
    versions."""
    positive: str | None = None
    """Of two classes the one that precision, recall, F1 and AUC are those of."""
    targets: list[str] = []
    """Names of the numbers of a regression, if it names them."""
    class_counts: Counts = {}
    """Rows of each class by domain and part, of the target those that were scored. A class without rows is
    there with 0: the means over classes are over the others."""
    target_labels: dict[str, int] = {}
    """Test rows of the target that were `scored`, that are `unlabelled`, and that are of a class which the
    source does not have (`other_class`); empty if none is labelled."""
    answers_sha256: str | None = None
    """Checksum of the target labels that the scores are by; a run whose labels were corrected since is
    evaluated again. None in results of the first versions."""
    selection_sha256: str | None = None
    """Checksum of the target labels that the epoch was chosen with, if it was (`uses_target_labels`)."""
    predicted_shares: dict[str, float] = {}
    """Share of each class that the network predicted for the target's training rows after the warm-up, see
    `datk.training.signs`."""
    information: float | None = None
    """Of those predictions, see `datk.training.label_shift.information`."""
    pulls: dict[str, float] = {}
    """How hard each term pulled then at its full weight, beside the supervised loss."""
    late_fall: float = 0.0
    """Which part of the fall of the validation loss came with the last tenth of the learning rate's sum, see
    `datk.training.signs.late_fall`."""
    alarms: list[Alarm] = []
    """Signs that the numbers mislead or that adaptation does harm."""
    vote: Vote | None = None
    """Of a run of `--align auto` its candidates, and which of them vote. `epochs` is then the most that one
    of them trained, `selected_epoch` 0, `seconds` the time of all that vote, and `weights_sha256` that of
    their checksums."""
    notes: list[str] = []
    """What everybody who reads the numbers must know."""

    _folder: Path = PrivateAttr(default=Path())
    _baseline: "RunResult | None" = PrivateAttr(default=None)

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self._folder

    @property
    def baseline(self) -> "RunResult | None":
        """What the source-only baseline found, if it was asked for with the run (`baseline=True`)."""
        return self._baseline

    @property
    def align_and_reg(self) -> str:
        """The loss terms as the command line names them, for instance `mmd + fisher,entropy`."""
        return " + ".join([self.align, *([",".join(self.reg)] if self.reg else [])])


def read_result(path: str | Path) -> RunResult:
    """The result of a completed run folder. Raises `RunError` if there is none.

    Example:
        >>> read_result("runs/mine").metrics["target"]["test"]["accuracy"]  # doctest: +SKIP
        0.741
    """
    path = Path(path)
    if not (path / "result.json").is_file():
        raise RunError(f"{path} holds no completed run (no result.json)")
    try:
        result = RunResult.model_validate(read_json(path / "result.json"))
    except ValidationError:
        raise RunError(f"{path / 'result.json'} is not the result of a run of datk {__version__}") from None
    result._folder = path
    return result
