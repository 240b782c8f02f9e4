"""Execution of runs: checks and records before they start, executors, scheduler; imports no torch."""
