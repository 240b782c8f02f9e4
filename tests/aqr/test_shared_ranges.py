"""Ranges among threads, torch's own or plain ones: each once, side by side, and failures are heard."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from aqr_exp.aqr.attention import parallel
from aqr_exp.aqr.attention.parallel import parallel_for

MUCH = 10**9


@pytest.fixture(params=["_in_team", "_in_pool"])
def way(request, monkeypatch):
    """Both ways to call a function in many threads."""
    function = getattr(parallel, request.param)
    monkeypatch.setattr(parallel, "_share", lambda: function)


@pytest.mark.parametrize("total", [0, 1, 11, 12, 13, 1000])
def test_ranges_cover_everything_once(total, threads, way):
    threads(3)
    seen = []
    parallel_for(lambda first, last: seen.extend(range(first, last)), total, parallel._LEAST_SHARED)
    assert sorted(seen) == [*range(total)]


def test_all_threads_work_at_the_same_time(threads, way):
    threads(2)
    # Passed by nobody unless two wait there together.
    meeting, met = threading.Barrier(2), set()

    def kernel(first, last, word):
        if first < 250:
            meeting.wait(timeout=60)
        met.add((threading.get_ident(), word))

    parallel_for(kernel, 1000, MUCH, "passed on")
    assert len(met) == 2
    assert {word for _, word in met} == {"passed on"}


def test_little_work_is_not_handed_over(threads):
    threads(3)
    seen = []
    function = lambda first, last: seen.append((first, last, threading.get_ident()))  # noqa: E731
    parallel_for(function, 1000, parallel._LEAST_SHARED - 1)
    threads(1)
    parallel_for(function, 1000, MUCH)
    assert seen == [(0, 1000, threading.get_ident())] * 2


def test_who_has_not_begun_is_not_waited_for(threads, monkeypatch):
    threads(2)
    # One worker, busy until the test lets it go.
    gate, pool = threading.Event(), ThreadPoolExecutor(1)
    pool.submit(gate.wait)
    monkeypatch.setattr(parallel, "_share", lambda: parallel._in_pool)
    monkeypatch.setattr(parallel, "_pool", lambda _: pool)
    seen = []
    parallel_for(lambda first, last: seen.extend(range(first, last)), 1000, MUCH)
    assert seen == [*range(1000)]
    gate.set()
    pool.shutdown()


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_what_fails_in_any_thread_is_heard(threads, way, error):
    threads(2)

    def kernel(first, last):
        if first:
            raise error("in the second range")

    with pytest.raises(error, match="in the second range"):
        parallel_for(kernel, 1000, MUCH)
    parallel_for(lambda *_: None, 1000, MUCH)  # Nothing is left behind that would disturb.


def test_ctrl_c_just_before_the_first_line_is_not_lost(threads, monkeypatch):
    threads(2)
    monkeypatch.setattr(parallel, "_share", lambda: lambda *_: None)
    with pytest.raises(KeyboardInterrupt):
        parallel_for(lambda *_: None, 1000, MUCH)


PROGRAM = """
import os, torch
from aqr_exp.aqr.attention import parallel
torch.set_num_threads(3)
torch.randn(1000, 1000) @ torch.randn(1000, 1000) + torch.randn(1000, 1000).exp()
before = len(os.listdir("/proc/self/task"))
parallel.parallel_for(lambda *_: None, 1000, 10**9)
print(before, len(os.listdir("/proc/self/task")))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts the threads that Linux lists")
def test_torch_s_own_threads_are_used():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    before, after = map(int, done.stdout.split())
    assert before == after >= 3
