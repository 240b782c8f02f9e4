"""Hydra composition, validation and run identity; imports nothing heavy."""
