"""From a sweep, as a file or as typed, to the list of runs it means; imports nothing heavy."""
