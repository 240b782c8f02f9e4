import os
import signal
from collections.abc import Callable

import pytest

from aqr_exp.train.checkpoint import STOPPING, StopRequest, stops_wait


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


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 7), (signal.SIGTERM, 128 + 15)])
def test_a_loader_worker_ends_when_told_to_and_not_by_ctrl_c(number: int, code: int) -> None:
    with stops_wait(StopRequest()):
        worker = os.fork()
        if not worker:
            os.kill(os.getpid(), number)
            os._exit(7)
        _, status = os.waitpid(worker, 0)
    assert os.waitstatus_to_exitcode(status) == code
