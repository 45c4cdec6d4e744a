"""The models of a configuration: what may be said, and what holds if nothing is said.

Shipped components are named with their distribution, so that a stranger's `mmd` changes no default.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    model_validator,
)

from datk.base.options import ComponentConfig

Options = dict[str, Any]
Rule = Literal["stratified", "grouped", "paper"]
"""How rows are dealt to training, validation and test, see `datk.data.splits`."""

TargetRows = Literal["auto", "all", "split"]
"""Which target rows are trained on and scored, see `datk.data.splits`."""

StandardizeBy = Literal["source", "per-domain", "none"]
"""By which constants samples are standardised, see `datk.data.constants`."""

EPOCHS, STEPS = 20, 600
"""How long a run trains at least if nothing is said."""

GONE = {
    "together": "datk bench --jobs N trains several seeds side by side",
    "graphs": "train.compile=reduce-overhead records CUDA graphs",
}
"""Options of `train` that earlier versions had and wrote into every config.json, and what stands in for
them."""

FORMER: Options = {
    "split": "grouped",
    "backbone": "datk:deepmerge",
    "data": {"split_seed": "run", "standardize": "per-domain", "target_rows": "split"},
    "train": {"epochs": 20, "lr": 1e-3, "patience": 20, "select": "datk:source-validation-loss"},
}
"""What earlier versions did where nothing was said: it holds for the runs and suites that they began."""

COMPILED = {"false": "none", "true": "default"}
"""What earlier versions wrote for `train.compile`."""


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


def _has_name(value: Options) -> Options:
    if not isinstance(value.get("name"), str):
        raise ValueError('name a component, alone or as {name = "NAME", option = value}')
    return value


def _short(value: Options) -> str | Options:
    return str(value["name"]) if value.keys() == {"name"} else value


Table = Annotated[Options, AfterValidator(_has_name)]
"""A component as a table of its name and options."""

Named = Annotated[Table, BeforeValidator(_named), PlainSerializer(_short)]
"""A component by name, or a table of its name and options; written as the name alone where there are none."""


def _split_seed(value: Any) -> Any:
    """A number, or "run" for what earlier versions wrote as null."""
    if value is None or value == "run":
        return "run"
    text = str(int(value) if isinstance(value, float) and value.is_integer() else value).strip()
    if not text.isdecimal():
        raise ValueError(f"must be a whole number from 0, or run for the run's seed (got {value!r})")
    return int(text)


SplitSeed = Annotated[int | Literal["run"], BeforeValidator(_split_seed)]


def _as_list(value: Any) -> Any:
    """Several values, of which one may stand alone or several behind commas; NaN and infinities by name, as
    JSON has none."""
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    elif isinstance(value, int | float):
        value = [value]
    return [_by_name(each) for each in value] if isinstance(value, list | tuple) else value


def _by_name(value: Any) -> Any:
    text = str(value).strip().lower().removeprefix("+")
    if text in ("nan", "-nan", "inf", "-inf", "infinity", "-infinity"):
        return text.removesuffix("inity") if "inf" in text else "nan"
    return value


MissingValues = Annotated[
    tuple[float | Literal["nan", "inf", "-inf"], ...],
    BeforeValidator(_as_list, json_schema_input_type=float | str | list[float | str]),
]
"""Values of samples that mean "no data"."""


def _as_text(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _seconds(value: Any) -> Any:
    """Seconds of a duration such as `90s`, `30m`, `1.5h` or `2h`, or of a number."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smh]?)\s*", str(value))
    if isinstance(value, bool) or not found:
        raise ValueError(f"must be a time such as 90s, 30m or 2h (got {value!r})")
    return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]]


Seconds = Annotated[float, Field(gt=0), BeforeValidator(_seconds, json_schema_input_type=float | str)]


class PairOptions(ComponentConfig):
    """Options that the core gives every pair, beside the pair's own."""

    positive: Annotated[str, BeforeValidator(_as_text)] | None = None
    """Of two classes the name of the positive one, which precision, recall and F1 are of; the second if not
    given. Training does not depend on it."""


class DataConfig(ComponentConfig):
    """How the data are split and held."""

    fractions: tuple[float, float, float] = (0.7, 0.1, 0.2)
    """Shares of training, validation and test rows. Where a pair fixes its test rows, the first two share the
    rest in their ratio."""

    split_seed: SplitSeed = 0
    """Seed of the split: a number, so that runs with other seeds have the same rows and differ by training
    alone; or `run`, the run's seed."""

    target_rows: TargetRows = "auto"
    """Target rows that are trained on, without labels, and scored: all of them in each part (`all`), as in
    the tables of Office, VisDA and AdaTime; or those of their parts (`split`). auto takes all, unless the
    pair fixes the rows to be scored, both domains show the same objects, or split=paper."""

    standardize: StandardizeBy = "source"
    """By which mean and deviation, per channel of images and per feature of vectors, samples are
    standardised: those of the source's training rows in both domains, so that nothing of the target comes in;
    those of each domain's own training rows, which is an adaptation by itself, and a wrong one where classes
    have other shares in the target (`per-domain`); or not at all (`none`)."""

    missing: MissingValues = ()
    """Values of samples that mean "no data", in both domains: numbers, nan, inf or -inf, one or a list, for
    instance `-999` or `[nan, -32768]`. They count in no mean and no deviation, and `missing_fill` replaces
    them wherever rows are read."""

    missing_fill: float | Literal["median"] = "median"
    """What stands in for `missing` values: the median of the channel's other values in the training rows of
    the domain, or a number in the samples' own unit."""

    clip: tuple[float, float] | None = None
    """Two percentiles of each channel's values in the training rows of the domain, for instance [0.1, 99.9]:
    what lies beyond them is set to them, wherever rows are read. Nothing is if not given."""

    evaluation_batch: int | None = Field(None, ge=1)
    """Rows that pass through the network at a time where nothing is trained. If not given, as many as in a
    step of training, but at most 256, and of small rows, as feature vectors are, up to 256."""

    memory_gb: float | None = Field(None, gt=0)
    """Rows on disk are copied to memory (to the GPU's where one is used) if a domain takes at most this many
    GiB, and are streamed otherwise; half of what is free if not given."""

    @model_validator(mode="after")
    def _clip_is_a_range(self) -> "DataConfig":
        if self.clip is not None and not 0 <= self.clip[0] < self.clip[1] <= 100:
            raise ValueError("clip must be two percentiles in increasing order between 0 and 100")
        return self

    @model_validator(mode="after")
    def _fractions_are_shares(self) -> "DataConfig":
        if min(self.fractions) <= 0 or abs(sum(self.fractions) - 1) > 1e-6:
            raise ValueError("fractions must be three positive numbers that add up to 1")
        return self


class TrainConfig(ComponentConfig):
    """How the model is trained. The optimiser's values are those of DeepMerge II (Ciprijanovic et al. 2021),
    whose code also used amsgrad for its runs with MMD."""

    epochs: int | None = Field(None, ge=1)
    """Passes over the source's training rows. If neither these nor `steps` are given, 20, or as many as make
    600 steps, if that is more: 20 passes over a small table are few steps."""

    steps: int | None = Field(None, ge=1)
    """Steps of the optimiser, in place of `epochs`; the last pass is a whole one."""

    batch_size: int = Field(128, ge=2)
    """Rows of each domain in a step; a domain with fewer training rows gives all of them."""

    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    """Adam with the weight decay as an L2 penalty, AdamW, which decouples it (Loshchilov & Hutter 2019), or
    stochastic gradient descent with Nesterov's momentum."""

    lr: float = Field(3e-3, gt=0)
    """Peak learning rate."""

    momentum: float = Field(0.9, ge=0, lt=1)
    """Momentum of `sgd`."""

    betas: tuple[float, float] = (0.7, 0.8)
    """Adam's decay rates of the first and second moment."""

    eps: float = Field(1e-8, gt=0)
    """Adam's term against division by zero."""

    weight_decay: float = Field(1e-4, ge=0)
    """Pull of the weights towards 0: an L2 penalty, or with adamw a part of each step."""

    amsgrad: bool = True
    """Whether Adam keeps the largest second moment (AMSGrad)."""

    schedule: Literal["one-cycle", "triangle", "cosine", "constant"] = "one-cycle"
    """Learning rate over the run: up and down once (Smith & Topin 2018), the repeating triangle of
    DeepMerge II's code, a half cosine to zero, or constant."""

    cycle_length: float = Field(8, gt=0)
    """Epochs of a cycle of the triangle; a triangle takes 0.9 of it."""

    augment: Literal["none", "dihedral", "rotate-zoom"] = "none"
    """What is done at random to the training images of both domains: nothing; flips and quarter turns; or
    flips, rotation by any angle and zoom, where what lies outside an image is filled with its mirror image:
    constant corners could give a class away."""

    zoom: tuple[float, float] = (0.9, 1.1)
    """Least and largest magnification of augment=rotate-zoom."""

    balance: int | None = Field(None, ge=1)
    """Source rows of each class in an epoch: a class with fewer is repeated, each time augmented anew, of one
    with more each epoch takes another part. All rows once if not given. The target, whose labels are unknown,
    is never balanced."""

    class_weights: Literal["none", "balanced"] = "none"
    """Weights in the loss on the source's labels: none, or N / (K n) for a row of a class with n of the N
    training rows of the source, in K classes (balanced). Classes then count alike, and the mean weight of a
    row is 1: the mean over a batch stays a plain one. Validation and selection are not weighted, nor what a
    loss term makes of labels by itself. Not together with `balance`."""

    label_shift: Literal["none", "estimate"] = "none"
    """Whether classes may have other shares in the target. With `estimate` the shares are estimated after a
    fifth of the training, as the mean of the calibrated probabilities that are predicted for the target's
    training rows, and where domains are compared (mmd, coral, dann, cdan) source rows weigh by the ratio of
    their class's shares."""

    select: Named = Field(default_factory=lambda: {"name": "datk:last"})
    """Selector that chooses the epoch whose weights are kept: a name, or ./file.py:Class. The last one by
    default, for which the learning rate is brought to nothing: by the source's rows an epoch would be chosen
    before the alignment has acted. `oracle` alone looks at target labels, and says so in the result."""

    time_budget: Seconds | None = None
    """Time that training may take, for instance `90s`, `30m` or `2h` (a number is seconds). The number of
    epochs is lowered to what there is time for, as the first tenth of the time shows, and with it the
    schedule; training ends after the epoch that reaches the limit in any case. How many epochs that are
    depends on the machine and on what else it does, so that a seed gives other weights each time. Any time if
    not given."""

    patience: int = Field(0, ge=0)
    """Stop after this many epochs without a better one by `select`; 0 never stops early."""

    log_every: int = Field(10, ge=1)
    """Steps between log lines; only then do values leave the device."""

    deterministic: bool = True
    """Use deterministic kernels, so that a seed gives the same weights again on the same machine."""

    save_every: float = Field(10, ge=0)
    """Seconds between checkpoints, at least; 0 writes one after every epoch. A run that ends or fails always
    writes one; one that is killed repeats the epochs after its last one when it is resumed."""

    memory_format: Literal["auto", "contiguous", "channels-last"] = "auto"
    """Order of an image's values in memory, which decides between kernels that differ in speed and in the
    last bits of their results. auto is channels-last on a CPU, where it was measured to be faster."""

    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Type in which the backbone computes during training (autocast). Weights, losses and evaluation are
    always float32; for float16, in which small gradients would vanish, the loss is scaled."""

    compile: Literal["none", "default", "reduce-overhead", "max-autotune"] = "none"
    """Translate forward and backward pass into fused kernels (torch.compile, by the name of its mode), which
    takes half a minute at the start; reduce-overhead also records CUDA graphs, so that a GPU need not wait
    for Python. Where that fails a note says why, and training goes on without."""

    sync_batch_norm: bool = True
    """Where several processes train together (torchrun) on GPUs: whether batch normalisation sees the whole
    batch, as in a single process, or each process's share of it. On CPUs each sees its share."""

    @model_validator(mode="before")
    @classmethod
    def _of_earlier_versions(cls, options: Any) -> Any:
        """Read what earlier versions wrote; refuse what they could and this one cannot."""
        if not isinstance(options, dict):
            return options
        for name, advice in GONE.items():
            if str(options.get(name, False)).lower() not in ("false", "0"):
                raise ValueError(f"{name} is no longer an option; {advice}")
        options = {name: value for name, value in options.items() if name not in GONE}
        translation = COMPILED.get(str(options.get("compile")).lower())
        return options | ({"compile": translation} if translation else {})

    @model_validator(mode="after")
    def _one_length(self) -> "TrainConfig":
        if self.epochs is not None and self.steps is not None:
            raise ValueError("epochs and steps both say how long to train; give one of them")
        return self

    @model_validator(mode="after")
    def _betas_are_rates(self) -> "TrainConfig":
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError("betas must lie in [0, 1)")
        return self

    @model_validator(mode="after")
    def _rare_classes_count_once(self) -> "TrainConfig":
        if self.balance is not None and self.class_weights != "none":
            raise ValueError(
                "balance and class_weights both make up for rare classes, which would count twice; choose one"
            )
        return self

    @model_validator(mode="after")
    def _zoom_is_a_range(self) -> "TrainConfig":
        if not 0.5 <= self.zoom[0] <= self.zoom[1] <= 2:
            raise ValueError("zoom must be two factors in increasing order between 0.5 and 2")
        return self


class RunConfig(BaseModel):
    """One run, whole: what config.json holds and `--config` reads."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, validate_default=True
    )

    pair: Table = {"name": "datk:mock-mergers"}
    """Domain pair: its name and options."""
    backbone: Table = {"name": "datk:auto"}
    """Backbone: its name and options; `auto` chooses by the samples."""
    align: dict[str, Options] = {"datk:mmd": {}}
    """Alignments by name, each with its options."""
    reg: dict[str, Options] = {}
    """Regularizers by name, each with its options."""
    task: Named = {"name": "datk:classification"}
    """What is predicted: classes (classification) or numbers (regression)."""
    data: DataConfig = DataConfig()
    """How the data are split and held."""
    split: Rule = "stratified"
    """How rows are dealt to training, validation and test: by object, so that every class of the source has
    its share of each (stratified); by object whatever its class, as earlier versions did (grouped); or by
    single images as in the code of DeepMerge II, which puts views of one object on both sides and so flatters
    the scores (paper)."""
    train: TrainConfig = TrainConfig()
    """How the model is trained."""
    init: str | None = None
    """Run folder whose weights training starts from."""
    init_normalization: Literal["fresh", "inherited"] = "fresh"
    """With `init`: standardise by this pair's training rows, or by the constants of the other run."""
    hooks: tuple[str, ...] = ()
    """Files of notifications, ./file.py, told beside the installed ones (`--hook`)."""
    seed: int = Field(0, ge=0)
    """Seed of every random draw."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps."""
