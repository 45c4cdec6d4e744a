"""Training, validation and test rows of both domains. Objects are never split; target labels are not looked
at, those of the source only so that every class reaches its shares."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from datk.base.errors import ConfigError, DataError
from datk.base.rng import numpy_generator
from datk.config.models import Rule, TargetRows
from datk.data.dealing import RowNumbers as RowNumbers
from datk.data.dealing import deal, tally
from datk.data.shares import absent_classes, uneven_shares
from datk.interfaces import Samples

Fractions = tuple[float, float, float]
PARTS = ("train", "validation", "test")


ALL_TARGET_ROWS = "+all-target-rows"
"""What the name of a split ends with whose target rows are in all parts."""


@dataclass(frozen=True)
class Split:
    """Row numbers of one domain, each part in increasing order; `numbered` changes that."""

    train: RowNumbers
    validation: RowNumbers
    test: RowNumbers


@dataclass(frozen=True)
class Splits:
    """The split of a pair and the rule that made it."""

    source: Split
    target: Split
    rule: str
    """`stratified` where every class of the source was given its shares, `grouped` where rows belong to
    objects, `grouped+stratified` for both, `random` for neither; `+fixed-test` if the pair names the test
    rows; `paper` for DeepMerge II's split, which parts objects; `+all-target-rows` if all of the target's
    rows are trained on and scored."""
    notes: tuple[str, ...] = ()
    """What everybody who reads a result must know."""

    @property
    def all_target_rows(self) -> bool:
        """Whether the target's rows are in all of its parts."""
        return self.rule.endswith(ALL_TARGET_ROWS)

    def arrays(self) -> dict[str, RowNumbers]:
        """Row numbers by `domain_part`, for the run's record."""
        return {
            f"{domain}_{part}": rows
            for domain in ("source", "target")
            for part, rows in _parts(getattr(self, domain)).items()
        }


def split_pair(
    source: Samples,
    target: Samples,
    shared_groups: bool,
    fractions: Fractions,
    seed: int,
    rule: Rule = "stratified",
    labels: RowNumbers | None = None,
    target_rows: TargetRows = "split",
    classes: Sequence[str] = (),
) -> Splits:
    """Split both domains by object; jointly where both show the same objects (`shared_groups`).

    Objects are dealt to training, validation and test so that rows and classes reach their shares as nearly
    as whole objects allow, see `datk.data.dealing`; what could not be had is noted. Rows without groups are
    objects of their own. Target labels play no part: the target's rows of a shared object go where its
    source rows go.

    Args:
        rule: "grouped" shuffles objects and cuts their row where the shares are reached, whatever their size
            and class, as earlier versions did. "paper" deals single images, each domain by itself, as the
            code of DeepMerge II (Ciprijanovic et al. 2021) does: views of one object come to lie on both
            sides.
        labels: class of each source row; without them nothing is stratified.
        target_rows: "all" puts all target rows into each part; "auto" does so unless the pair fixes the
            target's test rows, both domains show the same objects, or the rule is "paper".
        classes: names of the classes, for the notes.

    Raises:
        DataError: if a part would be empty, or if fixed test rows would put an object into two parts.
        ConfigError: if the rule is "paper" and the pair fixes its test rows, or those of the target though
            all of its rows are to be scored.
    """
    domains = {"source": source, "target": target}
    fixed = any(samples.test is not None for samples in domains.values())
    if rule == "paper" and fixed:
        raise ConfigError("split=paper deals all rows anew, but the pair fixes its test rows")
    if target_rows == "auto":
        as_parts = target.test is not None or shared_groups or rule == "paper"
        target_rows = "split" if as_parts else "all"
    if target_rows == "all":
        if target.test is not None:
            raise ConfigError(
                "data.target_rows=all scores all target rows, but the pair fixes those to be scored; "
                "leave out one of the two"
            )
        del domains["target"]
    if rule == "paper":
        parts = {name: _deal_images(name, samples, fractions, seed) for name, samples in domains.items()}
        notes = _copies(domains, parts, shared_groups)
        made_by = "paper"
    else:
        of_source = labels if rule == "stratified" else None
        parts = _by_object(domains, shared_groups, fractions, seed, rule, of_source)
        notes = [note for name in domains for note in _uneven(name, domains[name], parts[name], fractions)]
        grouped = shared_groups or any(samples.groups is not None for samples in domains.values())
        kinds = ["grouped"] * grouped + ["stratified"] * (of_source is not None)
        made_by = "+".join(kinds or ["random"]) + ("+fixed-test" if fixed else "")
    if target_rows == "all":
        everything = np.arange(target.x.shape[0])
        parts["target"] = Split(everything, everything, everything)
        notes += _adapted_to_all(source, target, parts["source"], shared_groups)
        made_by += ALL_TARGET_ROWS
    if labels is not None:
        notes += absent_classes(_parts(parts["source"]), labels, classes)
    return Splits(parts["source"], parts["target"], made_by, tuple(notes))


def _parts(split: Split) -> dict[str, RowNumbers]:
    return {part: getattr(split, part) for part in PARTS}


def numbered(split: Split, seed: int, domain: str) -> Split:
    """The split with the rows that components see, for training and for selection, in an order that is drawn
    from the seed: in a file that is sorted by class, the place of a row would tell its label."""
    train, validation = (
        rows[numpy_generator(seed, name, domain).permutation(len(rows))]
        for name, rows in (("row-numbers", split.train), ("validation-order", split.validation))
    )
    return replace(split, train=train, validation=validation)


def groups_of(samples: Samples) -> RowNumbers:
    """Number of the object that each row shows [N]: its own where the pair names none."""
    return np.arange(samples.x.shape[0]) if samples.groups is None else np.asarray(samples.groups)


def _deal_images(name: str, samples: Samples, fractions: Fractions, seed: int) -> Split:
    """A random 70/10/20 of the rows, cut where the paper's code cuts: at floor(0.7 N) and floor(0.8 N)."""
    rows = samples.x.shape[0]
    order = numpy_generator(seed, f"split-{name}").permutation(rows)
    train, validation, _ = fractions
    ends = [int(round(share * rows, 6)) for share in (train, train + validation)]
    parts = [np.sort(part) for part in np.split(order, ends)]
    _refuse_empty(name, parts)
    return Split(*parts)


def _uneven(name: str, samples: Samples, split: Split, fractions: Fractions) -> list[str]:
    """A note if a domain is not divided as was asked for."""
    sizes = [len(rows) for rows in _parts(split).values()]
    return uneven_shares(name, groups_of(samples), sizes, fractions, samples.test is not None)


def _copies(domains: dict[str, Samples], parts: dict[str, Split], shared_groups: bool) -> list[str]:
    """How many test rows show an object that some training row shows too."""
    if all(samples.groups is None for samples in domains.values()):
        return ["split by single images, because of split=paper: views of one object may be on both sides"]
    groups = {name: groups_of(samples) for name, samples in domains.items()}
    trained = {name: groups[name][parts[name].train] for name in domains}
    if shared_groups:
        trained = dict.fromkeys(domains, np.concatenate(list(trained.values())))
    seen = {name: np.isin(groups[name][parts[name].test], trained[name]).mean() for name in domains}
    shares = " and ".join(f"{share:.0%} of the {name}'s" for name, share in seen.items())
    return [f"{shares} test rows show an object that training saw too, because of split=paper"]


def _adapted_to_all(source: Samples, target: Samples, split: Split, shared_groups: bool) -> list[str]:
    """What data.target_rows=all means for the scores."""
    rows = target.x.shape[0]
    notes = [f"all {rows} target rows were trained on, without labels, and scored (data.target_rows=all)"]
    if shared_groups:
        of_source, of_target = groups_of(source), groups_of(target)
        twins = np.isin(of_target, of_source[split.train]).mean()
        tested = np.isin(of_source[split.test], of_target).mean()
        notes.append(
            f"{twins:.0%} of the target's rows show an object whose source rows were trained on with their "
            f"labels, and {tested:.0%} of the source's test rows one that is trained on in the target, "
            "because of data.target_rows=all"
        )
    return notes


def _by_object(
    domains: dict[str, Samples],
    shared_groups: bool,
    fractions: Fractions,
    seed: int,
    rule: Rule,
    labels: RowNumbers | None,
) -> dict[str, Split]:
    """Split domains without parting objects; jointly if they share them."""
    if shared_groups and len(domains) > 1:
        return _deal(domains, fractions, numpy_generator(seed, "split"), rule, labels)
    parts: dict[str, Split] = {}
    for name, samples in domains.items():
        parts |= _deal({name: samples}, fractions, numpy_generator(seed, f"split-{name}"), rule, labels)
    return parts


def _deal(
    domains: dict[str, Samples],
    fractions: Fractions,
    generator: np.random.Generator,
    rule: Rule,
    labels: RowNumbers | None,
) -> dict[str, Split]:
    """Split domains that share their objects."""
    groups = {name: groups_of(samples) for name, samples in domains.items()}
    all_groups = np.concatenate(list(groups.values()))
    objects, inverse, counts = np.unique(all_groups, return_inverse=True, return_counts=True)
    in_test = _fixed_test(domains, groups, objects)
    free = np.ones(len(objects), dtype=bool) if in_test is None else ~in_test
    train, validation, _ = fractions
    part_of = np.full(len(objects), 2)
    if rule == "grouped":
        order = generator.permutation(np.flatnonzero(free))
        ends_at = [train, train + validation] if in_test is None else [train / (train + validation)]
        ends = _ends(np.cumsum(counts[order]), ends_at)
        part_of[order] = np.searchsorted(ends, np.arange(len(order)), side="right")
    elif free.any():
        number = np.where(free, np.cumsum(free) - 1, -1)
        rows, wanted, strata = _strata(domains, groups, number[inverse], labels)
        shares = np.array(fractions if in_test is None else fractions[:2])
        entries, of_domains = tally(*rows, counts[free], strata), np.arange(len(domains))
        part_of[free] = deal(entries, shares / shares.sum(), of_domains, wanted, strata, generator)
    part_of_rows = part_of[inverse]

    splits, start = {}, 0
    for domain in domains:
        of_domain = part_of_rows[start : start + len(groups[domain])]
        start += len(of_domain)
        parts = [np.flatnonzero(of_domain == part) for part in range(3)]
        _refuse_empty(domain, parts, groups[domain])
        splits[domain] = Split(*parts)
    return splits


def _strata(
    domains: dict[str, Samples],
    groups: dict[str, RowNumbers],
    objects: RowNumbers,
    labels: RowNumbers | None,
) -> tuple[tuple[RowNumbers, RowNumbers], RowNumbers, int]:
    """What should reach its shares: the rows of each domain, of each of several sources, of each class of the
    source, and of each class in each of several sources.

    Args:
        objects: number of each row's object, -1 for rows that are not dealt.

    Returns:
        (object, stratum) of each row as often as it has strata; the strata that should be in every part, the
        most important first, beside the domains, which are the first ones; and how many strata there are.
    """
    lengths = [len(groups[name]) for name in domains]
    kinds = [(np.repeat(np.arange(len(domains)), lengths), False)]
    if "source" in domains:
        of_source = [kind for kind in (domains["source"].domain, labels) if kind is not None]
        kinds += [(np.unique(kind, return_inverse=True)[1], True) for kind in of_source]
        if len(of_source) == 2:
            pairs = np.stack(of_source, axis=1)
            kinds.append((np.unique(pairs, axis=0, return_inverse=True)[1].reshape(-1), False))
    of_objects, strata, first = [], [], 0
    wanted = [np.empty(0, dtype=np.int64)]
    for numbers, in_every_part in kinds:  # of the first rows: the source stands first
        own = objects[: len(numbers)]
        of_objects.append(own[own >= 0])
        strata.append(numbers[own >= 0] + first)
        if in_every_part:
            sizes = np.bincount(numbers[own >= 0])
            wanted.append(first + np.argsort(sizes, kind="stable"))
        first += int(numbers.max()) + 1
    return (np.concatenate(of_objects), np.concatenate(strata)), np.concatenate(wanted), first


def _refuse_empty(domain: str, parts: list[RowNumbers], groups: RowNumbers | None = None) -> None:
    for part, indices in zip(PARTS, parts, strict=True):
        if len(indices) == 0:
            rows = sum(map(len, parts))
            of_objects = "" if groups is None else f" in {len(np.unique(groups))} objects"
            raise DataError(
                f"the {part} split of the {domain} is empty: {rows} rows{of_objects}; give more data, "
                "other data.fractions, or other test masks"
            )


def _ends(reached: RowNumbers, shares: list[float]) -> list[int]:
    """How many objects to deal until each share of the rows is reached as nearly as whole objects allow.

    Every part gets an object if there are enough, however large the objects are.

    Args:
        reached: rows of the first object, the first two, ...
        shares: of all rows, increasing; the last part takes the rest.
    """
    ends = [0]
    for later, share in zip(reversed(range(1, len(shares) + 1)), shares, strict=True):
        nearest = np.abs(reached - share * reached[-1]).argmin() + 1 if len(reached) else 0
        ends.append(max(ends[-1] + 1, min(int(nearest), len(reached) - later)))
    return ends[1:]


def _fixed_test(
    domains: dict[str, Samples], groups: dict[str, RowNumbers], objects: RowNumbers
) -> npt.NDArray[np.bool_] | None:
    """Which objects the pair puts into the test split; None if it leaves that to us."""
    masks = {domain: samples.test for domain, samples in domains.items() if samples.test is not None}
    if not masks:
        return None
    tested = np.zeros(len(objects), dtype=bool)
    trained = np.zeros(len(objects), dtype=bool)
    for domain, mask in masks.items():
        tested[np.searchsorted(objects, groups[domain][mask])] = True
        trained[np.searchsorted(objects, groups[domain][~mask])] = True
    if both := int((tested & trained).sum()):
        where = " and ".join(f"{domain}_test" for domain in masks)
        raise DataError(
            f"{both} {'group is' if both == 1 else 'groups are'} in two splits because of the fixed test "
            f"rows ({where}), the first is group "
            f"{objects[np.argmax(tested & trained)]}; mark all rows of a group as test, "
            "or drop the masks or the groups"
        )
    return tested
