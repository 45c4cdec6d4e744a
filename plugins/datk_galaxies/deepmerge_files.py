"""The published arrays of DeepMerge II: names, sizes, and moments of the images.

Sizes are those of a download in January 2023; means and deviations those that the authors' code records.
"""

from datk.interfaces import RecordFile

__all__ = ["SIMREAL_FILES", "SIMSIM_FILES"]

SIMSIM_IMAGES, SIMSIM_LABELS = 2_082_510_128, 123_536
SIMREAL_IMAGES, SIMREAL_LABELS = 810_000_128, 48_128

SIMSIM_FILES = {
    "source/x": RecordFile(
        "SimSim_SOURCE_X_Illustris2_pristine.npy",
        SIMSIM_IMAGES,
        mean=(0.0375126, 0.03326255, 0.06786563),
        std=(1.30893517, 1.02839041, 1.12307501),
    ),
    "source/y": RecordFile("SimSim_SOURCE_y_Illustris2_pristine.npy", SIMSIM_LABELS),
    "target/x": RecordFile(
        "SimSim_TARGET_X_Illustris2_noisy.npy",
        SIMSIM_IMAGES,
        mean=(0.03749673, 0.03331003, 0.06772753),
        std=(1.37418461, 1.16330922, 1.19831419),
    ),
    "target/y": RecordFile("SimSim_TARGET_y_Illustris2_noisy.npy", SIMSIM_LABELS),
}
"""15,426 pristine and as many noisy images, by HDF5 dataset."""

SIMREAL_FILES = {
    "source/x": RecordFile(
        "SimReal_SOURCE_X_Illustris0.npy",
        SIMREAL_IMAGES,
        mean=(0.60699224, 0.63178635, 0.56252038),
        std=(1.8455255, 1.84083951, 1.4652102),
    ),
    "source/y": RecordFile("SimReal_SOURCE_y_Illustris0.npy", SIMREAL_LABELS),
    "target/x": RecordFile(
        "SimReal_TARGET_X_postmergers_SDSS.npy",
        SIMREAL_IMAGES,
        mean=(25.81263733, 21.12583733, 14.25884247),
        std=(35.08432007, 29.94885445, 19.8165493),
    ),
    "target/y": RecordFile("SimReal_TARGET_y_postmergers_SDSS.npy", SIMREAL_LABELS),
}
"""6,000 simulated and as many SDSS images, by HDF5 dataset."""
