"""A module for each thing that is measured; `measure(setting)` gives its rows."""
