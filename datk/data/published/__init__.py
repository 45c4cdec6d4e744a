"""Published data: from an archive's entry to one HDF5 file and its manifest."""
