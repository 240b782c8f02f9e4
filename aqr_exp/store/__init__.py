"""The run store: one folder a run, one a sweep."""
