"""From names and options to an `Experiment`."""
