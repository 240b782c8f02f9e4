"""One folder a run, and what many of them say together; imports nothing heavy."""
