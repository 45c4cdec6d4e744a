"""Training, validation and test rows of both domains. Objects are never split; labels are not looked at."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from datk.base.errors import ConfigError, DataError
from datk.base.rng import numpy_generator
from datk.config.models import Rule
from datk.interfaces import Samples

RowNumbers = npt.NDArray[np.int64]
"""Which rows of a domain, from 0; or a number for each of its rows, such as its group or class."""
Fractions = tuple[float, float, float]
PARTS = ("train", "validation", "test")


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
    """`random`, or `grouped` where rows belong to objects; `+fixed-test` if the pair names the test rows;
    `paper` for DeepMerge II's split, which parts objects."""
    notes: tuple[str, ...] = ()
    """What everybody who reads a result must know."""

    def arrays(self) -> dict[str, RowNumbers]:
        """Row numbers by `domain_part`, for the run's record."""
        return {
            f"{domain}_{part}": getattr(getattr(self, domain), part)
            for domain in ("source", "target")
            for part in PARTS
        }


def split_pair(
    source: Samples,
    target: Samples,
    shared_groups: bool,
    fractions: Fractions,
    seed: int,
    rule: Rule = "grouped",
) -> Splits:
    """Split both domains by object; jointly where both show the same objects (`shared_groups`).

    Objects are shuffled and dealt to training, validation and test until each has its share of the rows. Rows
    without groups are objects of their own. Target labels play no part, nor do those of the source.

    Args:
        rule: "paper" deals single images instead, each domain by itself, as the code of DeepMerge II
            (Ciprijanovic et al. 2021) does: views of one object come to lie on both sides.

    Raises:
        DataError: if a part would be empty, or if fixed test rows would put an object into two parts.
        ConfigError: if the rule is "paper" and the pair fixes its test rows.
    """
    domains = {"source": source, "target": target}
    fixed = any(samples.test is not None for samples in domains.values())
    if rule == "paper":
        if fixed:
            raise ConfigError("split=paper deals all rows anew, but the pair fixes its test rows")
        parts = {name: _deal_images(name, samples, fractions, seed) for name, samples in domains.items()}
        return Splits(parts["source"], parts["target"], rule, _copies(domains, parts, shared_groups))
    groups = {name: _groups(samples) for name, samples in domains.items()}
    if shared_groups:
        joint = _deal(domains, groups, fractions, seed, "split")
    else:
        joint = {}
        for name, samples in domains.items():
            joint |= _deal({name: samples}, groups, fractions, seed, f"split-{name}")
    grouped = shared_groups or any(samples.groups is not None for samples in domains.values())
    made_by = ("grouped" if grouped else "random") + ("+fixed-test" if fixed else "")
    return Splits(joint["source"], joint["target"], made_by)


def numbered(split: Split, seed: int, domain: str) -> Split:
    """The split with the rows that components see, for training and for selection, in an order that is drawn
    from the seed: in a file that is sorted by class, the place of a row would tell its label."""
    train, validation = (
        rows[numpy_generator(seed, name, domain).permutation(len(rows))]
        for name, rows in (("row-numbers", split.train), ("validation-order", split.validation))
    )
    return replace(split, train=train, validation=validation)


def _groups(samples: Samples) -> RowNumbers:
    return np.arange(samples.x.shape[0]) if samples.groups is None else np.asarray(samples.groups)


def _deal_images(name: str, samples: Samples, fractions: Fractions, seed: int) -> Split:
    """A random 70/10/20 of the rows, cut where the paper's code cuts: at floor(0.7 N) and floor(0.8 N)."""
    rows = samples.x.shape[0]
    order = numpy_generator(seed, f"split-{name}").permutation(rows)
    train, validation, _ = fractions
    ends = [int(round(share * rows, 6)) for share in (train, train + validation)]
    parts = [np.sort(part) for part in np.split(order, ends)]
    _refuse_empty(name, parts, rows, "rows")
    return Split(*parts)


def _copies(domains: dict[str, Samples], parts: dict[str, Split], shared_groups: bool) -> tuple[str, ...]:
    """How many test rows show an object that some training row shows too."""
    if all(samples.groups is None for samples in domains.values()):
        return ("split by single images, because of split=paper: views of one object may be on both sides",)
    groups = {name: _groups(samples) for name, samples in domains.items()}
    trained = {name: groups[name][parts[name].train] for name in domains}
    if shared_groups:
        trained = dict.fromkeys(domains, np.concatenate(list(trained.values())))
    seen = {name: np.isin(groups[name][parts[name].test], trained[name]).mean() for name in domains}
    shares = " and ".join(f"{share:.0%} of the {name}'s" for name, share in seen.items())
    return (f"{shares} test rows show an object that training saw too, because of split=paper",)


def _deal(
    domains: dict[str, Samples],
    groups: dict[str, RowNumbers],
    fractions: Fractions,
    seed: int,
    name: str,
) -> dict[str, Split]:
    """Split domains that share their objects."""
    all_groups = np.concatenate([groups[domain] for domain in domains])
    objects, inverse, counts = np.unique(all_groups, return_inverse=True, return_counts=True)
    in_test = _fixed_test(domains, groups, objects)
    free = np.ones(len(objects), dtype=bool) if in_test is None else ~in_test
    order = numpy_generator(seed, name).permutation(np.flatnonzero(free))
    train, validation, _ = fractions
    shares = [train, train + validation] if in_test is None else [train / (train + validation)]
    ends = _ends(np.cumsum(counts[order]), shares)
    part_of = np.full(len(objects), 2)
    part_of[order] = np.searchsorted(ends, np.arange(len(order)), side="right")
    part_of_rows = part_of[inverse]

    splits, start = {}, 0
    for domain in domains:
        rows = part_of_rows[start : start + len(groups[domain])]
        start += len(rows)
        parts = [np.flatnonzero(rows == part) for part in range(3)]
        _refuse_empty(domain, parts, len(rows), f"rows in {len(np.unique(groups[domain]))} objects")
        splits[domain] = Split(*parts)
    return splits


def _refuse_empty(domain: str, parts: list[RowNumbers], rows: int, what: str) -> None:
    for part, indices in zip(PARTS, parts, strict=True):
        if len(indices) == 0:
            raise DataError(
                f"the {part} split of the {domain} is empty: {rows} {what}; give more data, "
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
