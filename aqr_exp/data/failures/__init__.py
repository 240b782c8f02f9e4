"""Sensor failures: what a model is evaluated under, each by a stated definition."""
