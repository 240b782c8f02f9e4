"""`python interrupted_training.py RUN_DIR STEP`: the real training, which gets Ctrl-C in the given step."""

import os
import signal
import sys

from aqr_exp.train.__main__ import main
from aqr_exp.train.hooks import RecordHistory

step = int(sys.argv[2])
after_train_iter = RecordHistory.after_train_iter


def interrupt_in_its_step(self, runner, **arguments):
    after_train_iter(self, runner, **arguments)
    if runner.iter + 1 == step:
        os.kill(os.getpid(), signal.SIGINT)


RecordHistory.after_train_iter = interrupt_in_its_step
sys.exit(main([sys.argv[1]]))
