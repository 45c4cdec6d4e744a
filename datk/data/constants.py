"""By which constants each domain is standardised (`data.standardize`)."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from datk.config.models import StandardizeBy
from datk.data.cleaning import Cleaning
from datk.data.standardize import Standardize
from datk.interfaces import Samples


class Constants(NamedTuple):
    """The standardisation of a domain."""

    used: Standardize
    """What its rows go through."""
    own: Standardize
    """What is fitted to its own training rows, each of several sources by itself: by it one sees which values
    are odd, and how far the domains are apart."""


def standardizers(
    by: StandardizeBy,
    samples: Mapping[str, Samples],
    training_rows: Mapping[str, npt.NDArray[np.int64]],
    of_source: npt.NDArray[np.int64],
    cleaning: Cleaning,
    fresh: bool = True,
) -> dict[str, Constants]:
    """The standardisation of both domains by their names, fitted to training rows.

    What is cleaned is always a matter of the domain: values that are missing or wrong say nothing of a shift.

    Args:
        by: `per-domain` fits each domain, and each of several sources, to its own rows; `source` fits to the
            rows of all sources together and treats every domain alike; `none` leaves values as they are.
        samples: of `source` and `target`.
        training_rows: their numbers, for both.
        of_source: number of the source that each of its rows is from [N].
        fresh: False leaves constants to be taken from another run.
    """
    sources = int(of_source.max()) + 1

    def fitted(name: str, several: bool, only_cleaning: bool) -> Standardize:
        """several: whether each of several sources gets constants of its own."""
        x, rows = samples[name].x, training_rows[name]
        numbers = of_source if several else None
        standardize = Standardize(tuple(x.shape[1:]), sources if several else 1, cleaning)
        if only_cleaning:
            standardize.fit_cleaning(x, rows, numbers)
        else:
            standardize.fit(x, rows, numbers)
        return standardize

    own = {name: fitted(name, name == "source" and sources > 1, False) for name in ("source", "target")}
    if by == "per-domain" and fresh:
        return {name: Constants(each, each) for name, each in own.items()}
    if by == "none" or not fresh:
        by_itself = {"source": by == "per-domain" and sources > 1, "target": False}
        return {name: Constants(fitted(name, by_itself[name], True), each) for name, each in own.items()}
    source = own["source"] if sources == 1 else fitted("source", False, False)
    target = fitted("target", False, True)
    target.follow(source)
    return {"source": Constants(source, own["source"]), "target": Constants(target, own["target"])}
