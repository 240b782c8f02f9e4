"""Hydra composition, validation and run identity; imports nothing heavy."""

BASELINE = "baseline"
"""The variant that all others are compared with: the detector as it is."""

MODULES = "modules"
"""Key of a record's `code` with the hash of each module of the package that the run may have loaded."""

SOURCES = "sources"
"""The key of a run's specification and record with what its idea was made of."""

IMPORTED = "imported"
"""The key that marks specification and record of a run that was not trained here."""
