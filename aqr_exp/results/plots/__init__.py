"""Figures of what many runs say together: sweeps, curves, classes and scales."""
