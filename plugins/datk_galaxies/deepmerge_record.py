"""The published data of DeepMerge II, as `datk data fetch` needs to know them."""

from datk.interfaces import Record
from datk_galaxies import mock_record
from datk_galaxies.deepmerge_files import SIMREAL_FILES, SIMSIM_FILES
from datk_galaxies.grouping import group_simreal, group_simsim

__all__ = ["SIMREAL", "SIMSIM"]

URL = "https://zenodo.org/api/records/4507941"
REFERENCE = "Ciprijanovic et al. 2021, MNRAS 506, 677; data doi:10.5281/zenodo.4507941"

SIMSIM = Record(
    name="illustris-simsim",
    publication="deepmerge",
    title="DeepMerge II: 15,426 pristine and 15,426 noisy images of Illustris galaxies",
    url=URL,
    reference=REFERENCE,
    files=SIMSIM_FILES,
    prepare=group_simsim,
    mock=mock_record.write,
)

SIMREAL = Record(
    name="illustris-sdss",
    publication="deepmerge",
    title="DeepMerge II: 6,000 images of Illustris and 6,000 of SDSS galaxies",
    url=URL,
    reference=REFERENCE,
    files=SIMREAL_FILES,
    prepare=group_simreal,
    mock=mock_record.write,
)
