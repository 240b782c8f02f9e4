"""One run inside its own process: `python -m aqr_exp.train RUN_DIR`."""
