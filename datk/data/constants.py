"""By which constants each domain is standardised (`data.standardize`)."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from datk.config.models import StandardizeBy
from datk.data.cleaning import Cleaning
from datk.data.standardize import Standardize
from datk.interfaces import Samples


def standardizers(
    by: StandardizeBy,
    samples: Mapping[str, Samples],
    training_rows: Mapping[str, npt.NDArray[np.int64]],
    of_source: npt.NDArray[np.int64],
    cleaning: Cleaning,
    fresh: bool = True,
) -> dict[str, Standardize]:
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
    shape = tuple(samples["source"].x.shape[1:])
    several = int(of_source.max()) + 1
    fitted = {}
    for name in ("source", "target"):
        numbers = of_source if name == "source" and several > 1 and by == "per-domain" else None
        standardize = Standardize(shape, 1 if numbers is None else several, cleaning)
        x, rows = samples[name].x, training_rows[name]
        if fresh and (by == "per-domain" or (by == "source" and name == "source")):
            standardize.fit(x, rows, numbers)
        else:  # of a run that did not clean, or by constants that are not of these rows
            standardize.fit_cleaning(x, rows, numbers)
        standardize.scales = by != "none"
        fitted[name] = standardize
    if fresh and by == "source":
        fitted["target"].follow(fitted["source"])
    return fitted
