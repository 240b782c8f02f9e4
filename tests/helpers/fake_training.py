"""Training processes that need no torch, in the ways a process can end."""

FAKE_TRAINING = """
import os, signal, sys
from pathlib import Path
from aqr_exp.store.run_folder import RunFolder
folder = RunFolder(Path(sys.argv[1]))
with folder.lock():
    folder.write_state("running")
    folder.write_progress({"phase": "train", "epoch": 1, "epochs": 2, "step": 3, "steps": 9})
    METRICS = {"mAP": 0.2531, "NDS": 0.3, "split": "synth_val", "synthetic": True,
               "AP/car": 0.5, "gt/car": 12}
"""

COMPLETES = """
    folder.write_metrics(METRICS)
    folder.write_state("completed")
"""

FAILS = """
    print("line before the end")
    folder.write_state("failed", reason="the loss is not finite")
    sys.exit(1)
"""

STOPPED = """
    os.kill(os.getppid(), signal.SIGINT)
    try:
        while True:
            signal.pause()
    except KeyboardInterrupt:
        sys.exit(130)
"""
