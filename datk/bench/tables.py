"""From the outcomes of a suite to its tables, as Markdown, CSV and JSON."""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from datk.base.text import one_line, printable
from datk.bench.escaping import in_csv, in_markdown
from datk.bench.gains import Gains, gains
from datk.bench.suite import Entry, Suite, Table
from datk.bench.sweep import Outcome
from datk.interfaces import Metric
from datk.runs.metrics import UNKNOWN, domain_order, metric_named, metric_text, metrics_of, several_numbers
from datk.runs.result import RunResult
from datk.runs.seeds import summarize
from datk.runs.verdict import Gain

DATK = "datk"
LARGE = 1e9
"""From where on a published number is shown with a power of ten, not digit by digit."""
IMPOSSIBLE, ORACLE, ALARMED, WORSE = "‡", "†", "§", "▼"


@dataclass(frozen=True)
class Number:
    """A cell of a table."""

    mean: float
    std: float | None = None
    impossible: bool = False
    metric: Metric | None = None
    """What it is a value of."""

    def __str__(self) -> str:
        return metric_text(self.metric, self.mean, self.std)

    @property
    def as_published(self) -> str:
        """A number that somebody else reports: two decimals, and all there are if there are more or if it has
        the unit of the labels."""
        if not math.isfinite(self.mean) or abs(self.mean) >= LARGE:
            return f"{self.mean:.10g}"
        rounded = f"{self.mean:.2f}"
        in_units = self.metric is not None and self.metric.in_label_units
        return rounded if float(rounded) == self.mean and not in_units else f"{self.mean:.10g}"


@dataclass(frozen=True)
class Line:
    """One method on one domain: measured by datk, or reported by somebody else."""

    method: str
    domain: str
    by: str
    """`datk`, or the name of the reference."""
    seeds: int
    """Runs behind it; 0 for a reference."""
    numbers: dict[str, Number]
    """By metric; without those that are not known."""
    seconds_per_epoch: float | None = None
    used_target_labels: bool = False
    """Whether the selector of one of the runs was given target labels."""
    alarms: tuple[str, ...] = ()
    """Codes of the alarms of its runs, see `datk.runs.alarms`."""
    gain: Gain | None = None
    """Target accuracy over that of the source-only cell."""

    @property
    def gained(self) -> str:
        """The gain with its interval, marked if it lies below 0."""
        return "" if self.gain is None else str(self.gain) + f" {WORSE}" * (self.gain.high < 0)

    def cell(self, metric: str) -> str:
        """What the table shows: a reference as published; a dash for what is unknown."""
        number = self.numbers.get(metric)
        if number is None:
            return UNKNOWN
        if self.seeds:
            return str(number) + ORACLE * self.used_target_labels
        return number.as_published + IMPOSSIBLE * number.impossible


@dataclass(frozen=True)
class FilledTable:
    """A table with its lines."""

    table: Table
    lines: tuple[Line, ...]
    caption: str
    absent: tuple[str, ...]
    """What is not in it, and why."""


def fill(suite: Suite, outcomes: Sequence[Outcome]) -> list[FilledTable]:
    """The tables of a suite."""
    metrics = metrics_of(suite.task)
    return [
        _filled(suite, metrics, table, [o for o in outcomes if o.entry.table == table])
        for table in suite.table
    ]


def _filled(
    suite: Suite, metrics: Mapping[str, Metric], table: Table, outcomes: Sequence[Outcome]
) -> FilledTable:
    lines: list[Line] = []
    gained = gains(outcomes)
    for entry in dict.fromkeys(outcome.entry.key for outcome in outcomes):
        own = [outcome for outcome in outcomes if outcome.entry.key == entry]
        lines += _lines(metrics, own, gained.of.get(entry))
    done = [outcome for outcome in outcomes if outcome.result is not None]
    marked = any(number.impossible for line in lines for number in line.numbers.values())
    absent = (*_absent(outcomes), *_not_scored(suite, done))
    return FilledTable(table, tuple(lines), _caption(done, marked, gained), absent)


def _lines(metrics: Mapping[str, Metric], outcomes: Sequence[Outcome], gain: Gain | None) -> Iterable[Line]:
    """The lines of one entry: for each domain what was measured, then what others report."""
    entry, wanted = outcomes[0].entry, len(outcomes)
    results = [outcome.result for outcome in outcomes if outcome.result is not None]
    summary = summarize(results) if results else {}
    title = (
        entry.title if len(results) in (0, wanted) else f"{entry.title} ({len(results)} of {wanted} seeds)"
    )
    for domain in domain_order(dict.fromkeys(["source", *summary, "target"])):
        measured = summary.get(domain, {}).get("test", {})
        numbers = {
            name: Number(value["mean"], value["std"], metric=metric_named(metrics, name))
            for name, value in measured.items()
            if value["mean"] is not None and name != "n"
        }
        seconds = fmean(result.seconds_per_epoch for result in results) if results else None
        seconds = None if entry.is_shallow else seconds
        informed = any(result.uses_target_labels for result in results)
        alarms = tuple(dict.fromkeys(alarm.code for result in results for alarm in result.alarms))
        if results:
            own = gain if domain == "target" else None
            yield Line(title, domain, DATK, len(results), numbers, seconds, informed, alarms, own)
        yield from _reported(metrics, entry, title, domain)


def _reported(metrics: Mapping[str, Metric], entry: Entry, title: str, domain: str) -> Iterable[Line]:
    for reporter, reference in entry.cell.reference.items():
        values: dict[str, float] = getattr(reference, domain, {})
        if values:
            numbers = {
                name: Number(
                    value, None, f"{domain}.{name}" in reference.impossible, metric_named(metrics, name)
                )
                for name, value in values.items()
            }
            yield Line(title, domain, reporter, 0, numbers)


def _absent(outcomes: Sequence[Outcome]) -> Iterable[str]:
    """Each reason once, with what it keeps out: `MMD (seed 0, 1): failed: ...`."""
    reasons: dict[str, dict[str, list[str]]] = {}
    for outcome in outcomes:
        if outcome.result is None:
            titles = reasons.setdefault(f"{outcome.status}: {outcome.error}", {})
            titles.setdefault(outcome.entry.title, []).append(str(outcome.seed))
    for reason, titles in reasons.items():
        out = [f"{title} (seed {', '.join(seeds)})" for title, seeds in titles.items()]
        yield one_line(f"{', '.join(out)}: {reason}")


def _not_scored(suite: Suite, done: Sequence[Outcome]) -> Iterable[str]:
    """Metrics of the suite that no run has, for instance of a number with another name."""
    results = [outcome.result for outcome in done if outcome.result is not None]
    found = dict.fromkeys(name for result in results for name in _scored(result))
    for name in suite.metrics:
        if found and name not in found:
            yield f"{name}: no run has this metric; there are {', '.join(found)}"


def _scored(result: RunResult) -> Iterable[str]:
    """Names of the metrics on test rows."""
    return (name for parts in result.metrics.values() for name in parts.get("test", {}) if name != "n")


def _caption(done: Sequence[Outcome], marked: bool, gained: Gains) -> str:
    """How the numbers were made; more than one value where the runs differ."""
    results = [o.result for o in done if o.result is not None and not o.entry.is_shallow]
    if not results:
        return "No run is complete."

    def each(values: Iterable[Any]) -> str:
        return " or ".join(dict.fromkeys(str(value) for value in values))

    seeds = sorted({result.seed for result in results})
    means = "mean ± sample standard deviation over seeds" if len(seeds) > 1 else "seed"
    epochs = _span(result.epochs for result in results)
    sizes = [
        _span(result.metrics[domain].get("test", {}).get("n", 0) for result in results)
        for domain in ("source", "target")
    ]
    parts = [
        f"Test rows, {means} {', '.join(map(str, seeds))}",
        f"backbone {each(result.backbone for result in results)}",
        f"epoch chosen by {each(map(_chosen_by, results))}",
        f"split {each(result.split for result in results)}",
        f"{sizes[0]} source and {sizes[1]} target test rows",
        *_positive_class(results),
        f"{epochs} epoch{'' if epochs == '1' else 's'}",
        each(result.device for result in results),
        f"datk {each(result.datk for result in results)}",
    ]
    notes = [f"Note: {note}." for note in _notes(done)]
    if numbers := several_numbers({name: None for result in results for name in _scored(result)}):
        notes.insert(0, f"Metrics without a name are means over {', '.join(numbers)}.")
    if any(result.split == "paper" for result in results):
        notes.insert(0, "split=paper deals single images: test objects have copies in training.")
    if any(result.uses_target_labels for result in results):
        notes.append(f"{ORACLE} chosen by oracle.")
    notes += [*_about_gains(gained), *_below_shallow(done), *_alarms(done)]
    if marked:
        notes.append(f"{IMPOSSIBLE} contradicts other published numbers of its row.")
    return one_line(" ".join(["; ".join(parts) + ".", *notes]))


def _about_gains(gained: Gains) -> Iterable[str]:
    if gained.of:
        one = next(iter(gained.of.values()))
        rows_alone = ", which with one seed is that of the rows alone" * (one.seeds == 1)
        yield (
            f"Gain: target accuracy over that of {gained.baseline}, paired by seed and row, with the 95 % "
            f"interval over seeds and rows{rows_alone}."
        )
        if any(gain.high < 0 for gain in gained.of.values()):
            yield f"{WORSE} worse than {gained.baseline}."
    if gained.why_not:
        yield f"Note: {gained.why_not}."


def _below_shallow(done: Sequence[Outcome]) -> Iterable[str]:
    """Which cells are less accurate on the target than the best of the shallow baselines is."""
    found: dict[bool, dict[str, list[float]]] = {False: {}, True: {}}
    for outcome in done:
        scores = outcome.result.metrics["target"].get("test", {}) if outcome.result else {}
        if (accuracy := scores.get("accuracy")) is not None:
            found[outcome.entry.is_shallow].setdefault(outcome.entry.title, []).append(accuracy)
    cells, shallow = ({title: fmean(of) for title, of in each.items()} for each in found.values())
    if shallow:
        best = max(shallow, key=lambda title: shallow[title])
        if below := [title for title, accuracy in cells.items() if accuracy < shallow[best]]:
            yield f"Less accurate on the target than {best}, the best shallow baseline: {', '.join(below)}."


def _alarms(done: Sequence[Outcome]) -> Iterable[str]:
    """The codes of all alarms with the cells whose runs raised them, unless all did."""
    cells: dict[str, dict[str, None]] = {}
    for outcome in done:
        for alarm in outcome.result.alarms if outcome.result else ():
            cells.setdefault(alarm.code, {})[outcome.entry.title] = None
    everyone = len({outcome.entry.title for outcome in done})
    if cells:
        codes = (f"{code} ({', '.join(of)})" if len(of) < everyone else code for code, of in cells.items())
        yield f"{ALARMED} alarms, of which result.json and log.txt of the runs tell more: {', '.join(codes)}."


def _positive_class(results: Sequence[RunResult]) -> list[str]:
    """Which class precision, recall and F1 are of, where there are two; results of the first versions do not
    say so."""
    named = dict.fromkeys(result.positive for result in results if result.positive is not None)
    return [f"positive class {' or '.join(named)}"] if named else []


def _chosen_by(result: RunResult) -> str:
    used = "with target labels: an upper bound" if result.uses_target_labels else "no target label is used"
    return f"{result.selected_by} ({used})"


def _span(values: Iterable[Any]) -> str:
    """The value, or the least and the largest."""
    known = sorted(set(values))
    return f"{known[0]} to {known[-1]}" if len(known) > 1 else str(known[0])


def _notes(done: Sequence[Outcome]) -> Iterable[str]:
    """What the first run of each cell says of its data, with the cells that say it unless all do."""
    first = {outcome.entry.key: outcome for outcome in reversed(done)}
    cells: dict[str, list[str]] = {}
    for outcome in reversed(first.values()):
        for note in outcome.result.notes if outcome.result else ():
            cells.setdefault(note, []).append(outcome.entry.title)
    for note, titles in cells.items():
        yield note if len(titles) == len(first) else f"{', '.join(titles)}: {note}"


# --- forms ---------------------------------------------------------------------------------------------


def markdown(suite: Suite, tables: Sequence[FilledTable], command: str) -> str:
    """The report as a page."""
    page = [f"# {in_markdown(suite.title)}", ""]
    page += [printable(suite.text.strip()), ""] if suite.text else []
    page += [f"    {one_line(command)}", ""]
    for filled in tables:
        page += [f"## {in_markdown(filled.table.title)}", ""]
        page += [printable(filled.table.text.strip()), ""] if filled.table.text else []
        header, *rows = grid(suite, filled)
        page += [
            _row(header),
            _row(["---"] * len(header)),
            *map(_row, rows),
            "",
            in_markdown(filled.caption),
            "",
        ]
        page += [f"- Not in the table: {in_markdown(reason)}" for reason in filled.absent]
        page += [""] if filled.absent else []
    return "\n".join(page).rstrip() + "\n"


def grid(suite: Suite, filled: FilledTable) -> list[list[str]]:
    """Header and rows of a table; who measured is a column only where somebody else did, too."""
    alone = all(line.by == DATK for line in filled.lines)
    by = [] if alone else ["by"]
    metrics = metrics_of(suite.task)
    known = [(name, metric_named(metrics, name)) for name in suite.metrics]
    titles = [metric.title if metric else name for name, metric in known]
    known_gain = any(line.gain for line in filled.lines)
    rows = [["method", "domain", *by, *titles, *["gain"] * known_gain, "s/epoch"]]
    method = domain = ""
    for line in filled.lines:
        names = ["" if line.method == method else one_line(line.method) + f" {ALARMED}" * bool(line.alarms)]
        names.append("" if (line.method, line.domain) == (method, domain) else one_line(line.domain))
        names += [] if alone else [one_line(line.by)]
        seconds = "" if line.seconds_per_epoch is None else f"{line.seconds_per_epoch:.2f}"
        cells = [line.cell(metric) for metric in suite.metrics]
        rows.append([*names, *cells, *[line.gained] * known_gain, seconds])
        method, domain = line.method, line.domain
    return rows


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(in_markdown, cells))} |"


def csv_text(suite: Suite, tables: Sequence[FilledTable]) -> str:
    """The lines of all tables, a column for mean and deviation of each metric."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    spread = [f"{metric}_{part}" for metric in suite.metrics for part in ("mean", "std")]
    # A column of its own only where there is something to say, so that tables without an oracle stay as they
    # were.
    informed = any(line.used_target_labels for filled in tables for line in filled.lines)
    alarmed = any(line.alarms for filled in tables for line in filled.lines)
    gaining = any(line.gain for filled in tables for line in filled.lines)
    last = [
        "seconds_per_epoch",
        *["uses_target_labels"] * informed,
        *["alarms"] * alarmed,
        *["gain", "gain_low", "gain_high"] * gaining,
    ]
    writer.writerow(map(in_csv, ["table", "method", "domain", "by", "seeds", *spread, *last]))
    for filled in tables:
        for line in filled.lines:
            numbers = [line.numbers.get(metric) for metric in suite.metrics]
            values = [value for n in numbers for value in ((n.mean, n.std) if n else (None, None))]
            names = [filled.table.name, line.method, line.domain, line.by, line.seeds]
            used = [str(line.used_target_labels).lower() if line.seeds else None] if informed else []
            raised = [" ".join(line.alarms)] if alarmed else []
            gain = [None] * 3 if line.gain is None else [line.gain.mean, line.gain.low, line.gain.high]
            row = [*names, *values, line.seconds_per_epoch, *used, *raised, *gain * gaining]
            writer.writerow([in_csv(cell) if isinstance(cell, str) else cell for cell in row])
    return text.getvalue()


def record(suite: Suite, outcomes: Sequence[Outcome], command: str) -> dict[str, Any]:
    """Everything: the result of every run, and what failed."""
    return {
        "suite": suite.model_dump(mode="json"),
        "command": command,
        "runs": [
            {
                "entry": outcome.entry.key,
                "seed": outcome.seed,
                "status": outcome.status,
                "error": outcome.error or None,
                "result": outcome.result.model_dump(mode="json") if outcome.result else None,
            }
            for outcome in outcomes
        ],
    }
