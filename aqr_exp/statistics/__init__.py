"""Estimates, intervals and verdicts from seeds and scenes."""
