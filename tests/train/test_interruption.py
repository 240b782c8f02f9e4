import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from aqr_exp.data.workers import loader_workers
from aqr_exp.errors import STOPPING, OutOfTimeError, interrupt
from aqr_exp.train.checkpoint import StopRequest, stops_wait


def test_the_first_request_waits_and_the_second_does_not() -> None:
    stop = StopRequest()
    assert not stop.asked
    stop.receive()
    assert stop.asked
    with pytest.raises(KeyboardInterrupt):
        stop.receive()


def test_one_cancellation_is_one_request_however_often_it_is_told() -> None:
    stop = StopRequest(one_request=lambda: True)
    for _ in range(3):
        stop.receive()
    assert stop.asked


INT, TERM, USR1, USR2 = signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2


@pytest.mark.parametrize(
    ("numbers", "out_of_time"),
    [
        ([USR1], True),
        ([USR2, USR1], True),
        ([TERM], False),
        # Slurm says that the time is up, and then the job is cancelled; or the other way round.
        ([USR2, TERM], False),
        ([TERM, USR2], False),
        ([USR2, INT, USR2], False),
    ],
)
def test_the_time_is_up_when_nobody_asked_otherwise(
    numbers: list[signal.Signals], out_of_time: bool
) -> None:
    stop = StopRequest(one_request=lambda: True)
    with stops_wait(stop):
        for number in numbers:
            os.kill(os.getpid(), number)
    with pytest.raises(KeyboardInterrupt) as caught:
        stop.obey()
    assert isinstance(caught.value, OutOfTimeError) == out_of_time


@pytest.mark.parametrize("number", STOPPING)
def test_a_signal_outside_of_training_interrupts_with_its_reason(number: int) -> None:
    before = signal.signal(number, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt) as caught:
            os.kill(os.getpid(), number)
    finally:
        signal.signal(number, before)
    assert isinstance(caught.value, OutOfTimeError) == (number in {USR1, USR2})


@pytest.mark.parametrize("one_request", [lambda: True, lambda: False])
def test_a_run_that_was_taken_away_is_left_at_once(one_request: Callable[[], bool]) -> None:
    stop = StopRequest(pressing=lambda: True, one_request=one_request)
    with pytest.raises(KeyboardInterrupt):
        stop.receive()
    assert not stop.asked


@pytest.mark.parametrize("number", STOPPING)
def test_signals_go_to_the_request_and_back_to_whom_they_went_before(number: int) -> None:
    before = signal.getsignal(number)
    stop = StopRequest()
    with stops_wait(stop):
        os.kill(os.getpid(), number)
        assert stop.asked
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before


def test_one_signal_to_a_group_is_one_request_when_a_launcher_passes_it_on() -> None:
    stop = StopRequest(one_request=lambda: True)
    with stops_wait(stop):
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
    assert stop.asked


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        stop = StopRequest()
        with stops_wait(stop):
            os.kill(os.getpid(), signal.SIGHUP)
        assert not stop.asked
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_loader_worker_hears_no_request_to_stop_from_its_first_moment() -> None:
    with loader_workers():
        worker = os.fork()
        if not worker:
            for number in STOPPING:
                os.kill(os.getpid(), number)
            os._exit(7)
        _, status = os.waitpid(worker, 0)
        # The process itself hears as before.
        assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()) & set(STOPPING)
    assert os.waitstatus_to_exitcode(status) == 7


def test_a_loader_worker_dies_with_its_training() -> None:
    reader, writer = os.pipe()
    training = os.fork()
    if not training:
        with loader_workers():
            if not os.fork():
                os.close(reader)
                signal.pause()
            os.kill(os.getpid(), signal.SIGKILL)
    os.close(writer)
    os.waitpid(training, 0)
    # Ends when the last process that could write to the pipe has.
    assert os.read(reader, 1) == b""
    os.close(reader)


def test_loader_workers_that_are_left_over_are_ended_with_the_training() -> None:
    context = multiprocessing.get_context("fork")
    with loader_workers():
        worker = context.Process(target=signal.pause, daemon=True)
        worker.start()
        worker.terminate()  # as torch does, in vain
    worker.join()
    assert worker.exitcode == -signal.SIGKILL


def test_forks_outside_a_training_are_as_ever() -> None:
    with loader_workers():
        pass
    child = os.fork()
    if not child:
        os.kill(os.getpid(), signal.SIGTERM)
        os._exit(7)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGTERM


def test_a_worker_that_answers_leaves_signals_to_the_process_that_reads() -> None:
    program = """
import os
from aqr_exp.errors import STOPPING
from aqr_exp.train.worker import json_responses
with json_responses() as respond:
    for number in STOPPING:
        os.kill(os.getpid(), number)
    respond({"alive": True})
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (0, b'{"alive": true}\n'), done.stderr
