"""Launchers that share a store from two containers, under clocks that jump, and on a disk that is full."""

import contextlib
import os
import random
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from campaign import campaign
from stub_training import read_audit
from sweep_process import STUB
from test_shared_sweeps import ENDS_WITHIN_S, Place, end_round

# Numbers of processes, host names and mounts of its own, as a container has them.
CONTAINER = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child"]
CONTAINER += ["--mount-proc", "--uts"]
DISK = ["unshare", "--user", "--map-root-user", "--mount"]


def needs(command: list[str]) -> None:
    """Skip where the machine lets nobody make namespaces."""
    try:
        subprocess.run([*command, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no namespaces here: {error}")


def stubs(audit: Path) -> list[int]:
    """Stubs of a test that live, as this process numbers them."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            its = str(STUB).encode() in (folder / "cmdline").read_bytes()
            if its and str(audit).encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
    return found


@contextlib.contextmanager
def jumping(place: Place, draw: random.Random) -> Iterator[None]:
    """Set the clock of everybody who works at a place forth and back, by minutes and by days."""
    clock, over = place.root.with_name("clock"), threading.Event()
    clock.write_text("0")
    place.environment["STUB_CLOCK"] = str(clock)

    def jump() -> None:
        while not over.wait(draw.uniform(0.0, 0.3)):
            beside = clock.with_name("clock.new")
            beside.write_text(str(draw.choice([0, 90, -90, 7200, -7200, 1e6, -1e6])))
            beside.replace(clock)

    thread = threading.Thread(target=jump)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        clock.write_text("0")


def one_round(folder: Path, seed: int, *within: str) -> None:
    """Two launchers, each in a place of its own, under jumping clocks; kill trainings at random."""
    draw = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret
    place, kills = Place(folder, runs=6, slots=3, plan={"*": {"sleep_s": 0.3}}), 0
    with jumping(place, draw):
        launchers = [place.launch(*within) for _ in range(2)]
        until = time.monotonic() + draw.uniform(1.0, 3.0)
        while time.monotonic() < until and any(one.poll() is None for one in launchers):
            time.sleep(draw.uniform(0.0, 0.6))
            victims = stubs(place.audit)
            if victims:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(draw.choice(victims), signal.SIGKILL)
                    kills += 1
        for launcher in launchers:
            assert launcher.wait(ENDS_WITHIN_S) in {0, 1}, place.log.read_text()
    assert_one_at_a_time(place)
    end_round(place, launchers, kills, f"seed {seed}")


def assert_one_at_a_time(place: Place) -> None:
    """No run began while another process had it: a kill or an end lies between two beginnings."""
    starts = place.names("begins")
    assert all(count >= 1 for count in starts.values())
    finished = set()
    for event, name, _, _ in read_audit(place.audit):
        assert not (event == "begins" and name in finished), f"{name} began after its end"
        if event == "finishes":
            finished.add(name)


def test_two_containers_share_a_store(tmp_path: Path) -> None:
    needs(CONTAINER)
    one_round(tmp_path, 0, *CONTAINER)


def test_clocks_that_jump_take_no_run_away(tmp_path: Path) -> None:
    one_round(tmp_path, 1)


@campaign(20)
def test_many_rounds_in_two_containers(tmp_path: Path, seed: int) -> None:
    needs(CONTAINER)
    one_round(tmp_path, seed, *CONTAINER)


def assert_goes_on(place: Place, script: str, log: Path, copy: Path) -> None:
    """Run a script with a disk of its own: a first launcher is hindered, the same command ends it all.

    Args:
        script: Writes the first one's code to `first` beside `log`, which holds what it said, and leaves
            a copy of the store that the second one completed.
    """
    ended = subprocess.run(
        [*DISK, "sh", "-c", script],
        env=place.environment,
        capture_output=True,
        text=True,
        timeout=ENDS_WITHIN_S,
        check=False,
    )
    said = log.read_text()
    assert ended.returncode == 0, (said, ended.stdout, ended.stderr)
    assert int(log.with_name("first").read_text()) in {0, 1, 2}, said
    assert "Traceback" not in said + ended.stdout + ended.stderr, said + ended.stderr
    assert "internal error" not in said, said
    place.store = type(place.store)(copy)
    assert place.statuses() == {"completed": 6}
    assert max(place.names("completed").values()) == 1
    assert not list(copy.rglob("*.tmp"))


def fill(folder: Path, seed: int) -> None:
    """A sweep on a disk of a random size, which then gets larger: it goes on and ends."""
    draw = random.Random(seed)  # noqa: S311
    place = Place(folder, runs=6, slots=3, plan={"*": {"sleep_s": 0.05}})
    size, launcher = draw.randrange(16, 400), shlex.join(place.command)
    root, log = shlex.quote(str(place.root)), folder / "full.log"
    copy = folder / "copy"
    script = f"""
        mount -t tmpfs -o size={size}k,nr_inodes={draw.choice([30, 60, 120, 0])} full {root}
        {launcher} > {shlex.quote(str(log))} 2>&1; echo "$?" > {shlex.quote(str(folder / "first"))}
        mount -o remount,size=64m,nr_inodes=0 {root}
        {launcher} && cp -r {root} {shlex.quote(str(copy))}
    """
    assert_goes_on(place, script, log, copy)


def test_a_sweep_goes_on_when_a_full_disk_has_space_again(tmp_path: Path) -> None:
    needs(DISK)
    fill(tmp_path, 0)


@campaign(40)
def test_many_sizes_of_a_full_disk(tmp_path: Path, seed: int) -> None:
    needs(DISK)
    fill(tmp_path, seed)
