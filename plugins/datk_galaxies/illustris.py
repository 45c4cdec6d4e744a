"""The published domain pairs of DeepMerge II: simulated to noisy simulated, and simulated to SDSS."""

from typing import ClassVar

import h5py
import numpy as np
import numpy.typing as npt

from datk.data.published.records import open_record
from datk.data.readers import open_array
from datk.interfaces import ComponentConfig, DataError, DomainPair, Record, Samples
from datk_galaxies.deepmerge_record import SIMREAL, SIMSIM

__all__ = ["IllustrisSDSS", "IllustrisSimSim"]

MOCK_NOTE = "a synthetic miniature of the DeepMerge II record: its numbers say nothing about real galaxies"


class IllustrisConfig(ComponentConfig):
    """Where the fetched data are."""

    path: str | None = None
    """HDF5 file that `datk data fetch` wrote, with its manifest.json beside it, if it was moved."""


class _Illustris(DomainPair):
    """A converted record with the groups that were found when it was converted."""

    Config = IllustrisConfig
    record: ClassVar[Record]
    classes = ("non-merger", "merger")

    def __init__(self, config: IllustrisConfig) -> None:
        path, manifest = open_record(self.record, config.path)
        file = str(path)
        self.source, self.target = (
            Samples(
                open_array(file, f"{domain}/x"), open_array(file, f"{domain}/group").values(), in_memory=False
            )
            for domain in ("source", "target")
        )
        self.source_labels: npt.NDArray[np.int64] = open_array(file, "source/y").values()
        self._answers: npt.NDArray[np.int64] = open_array(file, "target/y").values()
        with h5py.File(path, "r") as opened:
            found = dict(opened.attrs)
        if not {"groups_from", "shared_groups"} <= found.keys():
            raise DataError(
                f"{path} does not say where its groups come from; write it anew with: "
                f"datk data fetch {self.record.name} --force"
            )
        self.shared_groups = bool(found["shared_groups"])
        self.notes = (str(found["groups_from"]),)
        if manifest.get("mock"):
            self.notes += (MOCK_NOTE,)

    def answers(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Class numbers of the given target rows."""
        labels: npt.NDArray[np.int64] = self._answers[rows]
        return labels


class IllustrisSimSim(_Illustris):
    """Simulated galaxies of DeepMerge II: pristine images (source) and the same with noise (target).

    Published data, 4.2 GB to download: datk data fetch illustris-simsim. Each domain has 15,426 images, 3 x
    75 x 75 pixels, of galaxies at redshift 2 in the Illustris-1 simulation; 8,120 images show mergers,
    shortly before or after. Channels are ACS F814W, NIRCam F356W and WFC3 F160W, in the order that the
    authors' README gives; the copy of the data in the MAST archive names F160W before F356W, and which of the
    two holds here is not settled. Values are fluxes on a linear scale, a few of them hundreds of times the
    deviation.

    There are 2,233 galaxies only. Four cameras saw each (one was seen by two), and all images of mergers, but
    no others, are there five times: as they are, flipped in two ways, turned by 90 and 180 degrees. A split
    by image puts copies of nearly all test images into training; groups are therefore galaxies, shared by
    both domains, because a row shows the same in both. The record does not number its galaxies. The order of
    its rows tells them, and is verified, as far as arrays allow, when the record is converted; a note in each
    result says how that ended.

    Reference: Ciprijanovic et al. 2021, MNRAS 506, 677, "DeepMerge II"; data: Zenodo record 4507941. The
    simulation: Vogelsberger et al. 2014, MNRAS 444, 1518.
    """

    record = SIMSIM


class IllustrisSDSS(_Illustris):
    """Simulated galaxies (source) and galaxies observed by SDSS (target), of DeepMerge II.

    Published data, 1.6 GB to download: datk data fetch illustris-sdss. Each domain has 3,000 images of
    mergers and as many of other galaxies, 3 x 75 x 75 pixels in the bands g, r and i. The source is made of
    Illustris-1 at redshift 0, in units of flux; the target, whose mergers have coalesced, of SDSS pictures
    with values from 0 to 255 that bear traces of lossy compression.

    The data have flaws on which a result depends. The mergers are turned and zoomed copies of 44 simulated
    and 310 observed ones. Turning has left corners of constant value in the source's mergers, which its other
    images do not have: a classifier may learn the corners in place of the galaxies. Some of the target's
    non-mergers are there twice. Nothing in the record says which images show the same galaxy. Groups are sets
    of near duplicates, turned by any angle and zoomed, sought in each domain when the record is converted; a
    note in each result says how many there are.

    Reference: Ciprijanovic et al. 2021, MNRAS 506, 677, "DeepMerge II"; data: Zenodo record 4507941.
    """

    record = SIMREAL
