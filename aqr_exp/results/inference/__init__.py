"""Whether a difference is real: intervals, tests, verdicts from seeds and scenes (docs/statistics.md)."""
