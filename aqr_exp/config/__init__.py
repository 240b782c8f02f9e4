"""Hydra composition, validation and run identity; imports nothing heavy."""

BASELINE = "baseline"
"""The variant that all others are compared with: the detector as it is."""
