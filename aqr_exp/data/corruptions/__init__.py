"""Degraded sensors: missing, late, displaced, dirty or noisy data."""
