"""Objects dealt to parts, so that every stratum of their rows reaches its shares: large objects first.

A stratum is a set of rows that should be divided in the shares asked for: all rows of a domain, the rows of a
class, those of one of several sources. An object may have rows in many; it is never parted.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from datk.base.rng import numpy_generator

RowNumbers = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Tally:
    """How many rows of each stratum every object has, without the zeros; ordered by object."""

    starts: RowNumbers
    """Where the entries of each object start, [G + 1]."""
    strata: RowNumbers
    """Stratum of each entry."""
    counts: RowNumbers
    """Rows of each entry."""
    sizes: RowNumbers
    """Rows of each object, [G]."""

    def of(self, item: int) -> tuple[RowNumbers, RowNumbers]:
        """Strata of an object, and its rows in each."""
        entries = slice(self.starts[item], self.starts[item + 1])
        return self.strata[entries], self.counts[entries]


def tally(objects: RowNumbers, strata: RowNumbers, sizes: RowNumbers, number_of_strata: int) -> Tally:
    """From (object, stratum) of every row, each as often as it has strata; `sizes` counts its rows once."""
    keys, counts = np.unique(objects * number_of_strata + strata, return_counts=True)
    starts = np.searchsorted(keys, np.arange(len(sizes) + 1) * number_of_strata)
    return Tally(starts, keys % number_of_strata, counts, sizes)


def deal(
    rows: Tally,
    shares: Values,
    vital: RowNumbers,
    wanted: RowNumbers,
    number_of_strata: int,
    generator: np.random.Generator,
) -> RowNumbers:
    """The part [G] of every object.

    An object goes where the strata that it has rows of lack them most, the smallest stratum first: objects
    from large to small, those of about one size (within a factor of two) in random order. Then every vital
    stratum is given an object in every part, and every wanted one as far as that leaves objects: in the first
    part, in the second, and so on.

    Args:
        shares: of the parts, positive, with sum 1.
        vital: strata without which a part is of no use.
        wanted: other strata that should be in every part, the most important first.
    """
    dealing = _Dealing(rows, shares, number_of_strata)
    order = generator.permutation(len(rows.sizes))
    for members in _alike(rows, order):
        dealing.deal(members)
    dealing.cover(vital, wanted, generator)
    return dealing.part


def _alike(rows: Tally, order: RowNumbers) -> list[RowNumbers]:
    """Objects with the same rows in the same strata together, in the order of dealing."""
    pairs, kind = np.unique(rows.counts * (rows.strata.max() + 1) + rows.strata, return_inverse=True)
    # Sums of random numbers tell patterns apart; two that fell together would still be dealt, less evenly.
    random = numpy_generator(0, "patterns").integers(2**63, size=len(pairs), dtype=np.uint64)
    pattern = np.add.reduceat(random[kind.reshape(-1)], rows.starts[:-1])
    _, pattern = np.unique(pattern, return_inverse=True)
    in_order = order[np.argsort(pattern[order], kind="stable")]
    groups = np.split(in_order, np.flatnonzero(np.diff(pattern[in_order])) + 1)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    first = np.array([group[0] for group in groups])
    magnitude = np.frexp(rows.sizes[first])[1]
    return [groups[group] for group in np.lexsort([place[first], -magnitude])]


class _Dealing:
    """Objects in parts, and how many rows of each stratum every part has."""

    def __init__(self, rows: Tally, shares: Values, number_of_strata: int) -> None:
        self.rows, self.shares = rows, shares
        self.part = np.full(len(rows.sizes), -1)
        self.dealt = np.zeros((number_of_strata, len(shares)))
        total = np.bincount(rows.strata, rows.counts, number_of_strata)
        self.weight = 1 / np.maximum(total, 1)

    def deal(self, members: RowNumbers) -> None:
        """Deal objects that are all alike: most of them at once, the last ones each where it is best."""
        strata, counts = self.rows.of(members[0])
        rarest = np.argmax(counts * self.weight[strata])
        stratum, rows = strata[rarest], counts[rarest]
        wanted = self.shares * (self.dealt[stratum].sum() + rows * len(members)) - self.dealt[stratum]
        lacking = np.maximum(wanted / rows, 0)
        sure = np.maximum(np.floor(lacking * min(1, len(members) / max(lacking.sum(), 1))) - 1, 0)
        numbers = np.repeat(np.arange(len(self.shares)), sure.astype(np.int64))
        self.dealt[strata] += counts[:, None] * sure
        self.part[members[: len(numbers)]] = numbers
        for item in members[len(numbers) :]:
            self._put(item, int(np.argmin(self._costs(strata, counts))))

    def _costs(self, strata: RowNumbers, counts: RowNumbers) -> Values:
        """What an object in each part adds to sum (dealt - wanted)^2 / wanted over its strata, but for terms
        that do not depend on the part."""
        after = self.dealt[strata] + counts[:, None] / 2
        costs: Values = (counts * self.weight[strata]) @ after / self.shares
        return costs

    def _put(self, item: int, part: int) -> None:
        strata, counts = self.rows.of(item)
        if self.part[item] >= 0:
            self.dealt[strata, self.part[item]] -= counts
        self.dealt[strata, part] += counts
        self.part[item] = part

    def cover(self, vital: RowNumbers, wanted: RowNumbers, generator: np.random.Generator) -> None:
        """Move objects so that strata are in every part, the first parts first; the vital strata first."""
        self.vital, self.needed = np.zeros((2, len(self.dealt)), dtype=bool)
        self.vital[vital] = self.needed[vital] = self.needed[wanted] = True
        objects = np.repeat(np.arange(len(self.part)), np.diff(self.rows.starts))
        self.holders = np.zeros(self.dealt.shape, dtype=np.int64)
        np.add.at(self.holders, (self.rows.strata, self.part[objects]), 1)
        for strata in (vital, wanted):
            for part in range(len(self.shares)):
                for stratum in strata:
                    if self.holders[stratum, part] == 0:
                        self._fetch(stratum, part, objects[self.rows.strata == stratum], generator)

    def _fetch(self, stratum: int, part: int, candidates: RowNumbers, generator: np.random.Generator) -> None:
        """Move the object with rows of a stratum into a part that costs least, if one can be spared: from a
        part that has others of all its strata; or, if it has others of the vital ones, from a later part or
        for the sake of a vital stratum."""
        best, least = None, (True, np.inf)
        for item in generator.permutation(candidates):
            strata, counts = self.rows.of(item)
            now = self.part[item]
            several = self.holders[strata, now] > 1
            spared = bool(several[self.needed[strata]].all())
            may_be_missed = part < now or self.vital[stratum]
            if not (spared or (may_be_missed and several[self.vital[strata]].all())):
                continue
            costs = self._costs(strata, counts)
            back = (counts * self.weight[strata]) @ counts / self.shares[now]
            cost = (not spared, float(costs[part] - costs[now] + back))
            if cost < least:
                best, least = item, cost
        if best is not None:
            strata, _ = self.rows.of(best)
            self.holders[strata, self.part[best]] -= 1
            self.holders[strata, part] += 1
            self._put(best, part)
