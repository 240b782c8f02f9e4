"""Leases: one holder at a time, taken over from the dead only."""

import contextlib
import errno
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from aqr_exp.store import lease as lease_module
from aqr_exp.store import process_identity
from aqr_exp.store.lease import (
    BEAT_S,
    DRAFT_AGE_S,
    Lease,
    LeaseInfo,
    LockHeldError,
    claim,
    clear,
    clear_dead,
    evict,
    hold,
    look,
)
from aqr_exp.store.process_identity import FRESH_S, Liveness, process

HOSTILE = ["plain", "with space", "quo'te\"s; echo $HOME", "ünï", "-rf"]


@pytest.fixture(params=HOSTILE)
def path(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    folder = tmp_path / request.param
    folder.mkdir()
    return folder / ".lease"


@pytest.fixture
def quiet(tmp_path: Path) -> Path:
    return tmp_path / ".lease"


def taken(path: Path) -> Lease:
    lease = claim(path)
    assert isinstance(lease, Lease)
    return lease


def left(path: Path) -> list[str]:
    return sorted(item.name for item in path.parent.iterdir())


def held_by(path: Path, **changes: object) -> Path:
    """A lease that another process wrote; the holder's file."""
    lease = taken(path)
    lease.file.write_text(json.dumps(msgspec.structs.asdict(process()) | changes))
    return lease.file


def ended_process() -> int:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def age(file: Path, seconds: float) -> None:
    then = file.stat().st_mtime - seconds
    os.utime(file, (then, then))


def test_one_claims_and_others_are_told_who(path: Path) -> None:
    lease = taken(path)
    answer = claim(path)
    assert isinstance(answer, LeaseInfo)
    assert answer.liveness is Liveness.ALIVE
    assert str(answer) == f"process {os.getpid()} on {process().host}"
    assert left(path) == [".lease"]
    lease.release()
    assert look(path) is None
    assert left(path) == []
    taken(path).release()


def test_the_dead_are_taken_over(quiet: Path) -> None:
    held_by(quiet, pid=ended_process())
    standing = look(quiet)
    assert standing is not None
    assert standing.liveness is Liveness.DEAD
    lease = taken(quiet)
    assert [file.name for file in quiet.iterdir()] == [lease.file.name]


def test_a_reused_process_number_is_another_process(quiet: Path) -> None:
    here = process()
    assert here.started is not None
    held_by(quiet, started=here.started - 1)
    taken(quiet)


def test_a_killed_process_nobody_collected_is_dead(quiet: Path) -> None:
    command = "import sys; print('up', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        lease = taken(quiet)
        lease.hand_over(child.pid)
        standing = look(quiet)
        assert standing is not None
        assert standing.liveness is Liveness.ALIVE
        assert standing.owner is not None
        assert standing.owner.pid == child.pid
        child.kill()
        # Waits until it ended, and leaves it uncollected.
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        taken(quiet).release()
    assert left(quiet) == []


@pytest.mark.parametrize(
    "elsewhere",
    [{"host": "another"}, {"machine": "another"}, {"namespace": "pid:[1]"}],
    ids=["host", "machine", "container"],
)
def test_of_a_process_elsewhere_silence_proves_nothing(
    quiet: Path, elsewhere: dict[str, str]
) -> None:
    file = held_by(quiet, pid=ended_process(), **elsewhere)
    answer = claim(quiet)
    assert isinstance(answer, LeaseInfo)
    assert answer.liveness is Liveness.ALIVE
    age(file, 10 * FRESH_S)
    answer = claim(quiet)
    assert isinstance(answer, LeaseInfo)
    assert answer.liveness is Liveness.UNKNOWN
    assert str(answer).endswith(f"(unknown whether it lives: silent for {10 * FRESH_S:.0f} s)")
    assert file.exists()


def test_a_restarted_machine_holds_nothing(quiet: Path) -> None:
    file = held_by(quiet, boot="an earlier one")
    answer = claim(quiet)
    assert isinstance(answer, LeaseInfo)
    assert answer.liveness is Liveness.UNKNOWN, "it beats: another machine of the same name"
    age(file, 2 * FRESH_S)
    answer = claim(quiet)
    assert isinstance(answer, LeaseInfo)
    assert answer.liveness is Liveness.UNKNOWN, "it has beaten since this machine was started"
    age(file, float(Path("/proc/uptime").read_text().split()[0]))
    taken(quiet)


def test_on_a_shared_file_system_a_copied_machine_is_not_called_dead(
    quiet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_identity, "OWN_DISKS", set())
    file = held_by(quiet, boot="that of the copy")
    age(file, 1e9)
    answer = claim(quiet)
    assert isinstance(answer, LeaseInfo)
    assert answer.liveness is Liveness.UNKNOWN
    assert file.exists()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"host": 3}', '{"host": "a", "pid": 0}'])
def test_an_unreadable_lease_is_not_taken_over(quiet: Path, content: str) -> None:
    lease = taken(quiet)
    lease.file.write_text(content)
    age(lease.file, 10 * FRESH_S)
    answer = claim(quiet)
    assert isinstance(answer, LeaseInfo)
    assert (answer.liveness, answer.owner) == (Liveness.UNKNOWN, None)
    assert str(answer).startswith("an unreadable lease (unknown")
    assert evict(answer.file), "the user may"
    taken(quiet)


STRAYS: dict[str, Callable[[Path], object]] = {
    ".nfs000000000001": Path.touch,
    ".DS_Store": Path.touch,
    "Thumbs.db": Path.touch,
    "0123.json~": Path.touch,
    "copy of a lease.json": Path.touch,
    "a FIFO": os.mkfifo,
    "a link": lambda path: path.symlink_to(path.name),
    "an empty folder": Path.mkdir,
}


@pytest.mark.parametrize("stray", STRAYS)
@pytest.mark.parametrize("after", ["nobody", "a dead owner"])
def test_what_is_no_lease_keeps_nobody_from_it(quiet: Path, stray: str, after: str) -> None:
    if after == "nobody":
        quiet.mkdir()
    else:
        held_by(quiet, pid=ended_process())
    STRAYS[stray](quiet / stray)
    held = look(quiet)
    assert held is None or held.liveness is Liveness.DEAD
    lease = taken(quiet)
    STRAYS[stray](quiet / stray)
    assert isinstance(claim(quiet), LeaseInfo), "a living owner's stays"
    assert lease.beat()
    lease.release()
    assert look(quiet) is None
    taken(quiet).release()
    STRAYS[stray](quiet)
    assert look(quiet) is None
    taken(quiet).release()
    assert left(quiet) == []


def test_a_full_folder_in_a_lease_is_named_alike_by_look_and_claim(quiet: Path) -> None:
    kept = quiet / "lost+found" / "somebody's"
    kept.mkdir(parents=True)
    for answer in (look(quiet), claim(quiet)):
        assert isinstance(answer, LeaseInfo)
        assert answer.liveness is Liveness.UNKNOWN
        assert str(answer) == f"{quiet / 'lost+found'}, which is no lease: remove it"
    clear(quiet)
    assert kept.exists()


@pytest.mark.parametrize("kind", ["FIFO", "folder", "link"])
def test_an_owner_s_file_that_is_no_file_hangs_nobody(quiet: Path, kind: str) -> None:
    owner = quiet / f"{'ab' * 8}.json"
    quiet.mkdir()
    makers: dict[str, Callable[[Path], object]] = {
        "FIFO": os.mkfifo,
        "folder": Path.mkdir,
        "link": lambda path: path.symlink_to("/dev/zero"),
    }
    makers[kind](owner)
    answer = claim(quiet)
    assert isinstance(answer, LeaseInfo)
    assert (answer.liveness, answer.owner) == (Liveness.UNKNOWN, None)
    assert evict(answer.file), "the user may"
    taken(quiet)


def test_whoever_looked_long_ago_cannot_remove_a_successor(quiet: Path) -> None:
    held_by(quiet, pid=ended_process())
    old = look(quiet)
    assert old is not None
    successor = taken(quiet)
    assert not evict(old.file)
    assert successor.beat()
    successor.release()


def test_a_holder_notices_that_its_lease_was_taken(quiet: Path) -> None:
    lease = taken(quiet)
    assert lease.beat()
    assert evict(lease.file)
    other = taken(quiet)
    assert not lease.beat()
    lease.release()
    assert other.beat()


def test_of_many_who_claim_at_once_one_wins(quiet: Path) -> None:
    for _ in range(10):
        held_by(quiet, pid=2**22 + 1)  # above the largest process number: certainly dead
        start, won = threading.Barrier(8), []

        def race(start: threading.Barrier = start, won: list[Lease] = won) -> None:
            start.wait()
            answer = claim(quiet)
            if isinstance(answer, Lease):
                won.append(answer)

        threads = [threading.Thread(target=race) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1
        won[0].release()
        assert left(quiet) == []


def test_litter_of_killed_claimers_goes(quiet: Path) -> None:
    def draft(pid: int, token: str) -> Path:
        return quiet.with_name(f".lease.{pid}.{token}.tmp")

    fresh, old = draft(os.getpid(), "fresh"), draft(os.getpid(), "old")
    dead, torn = draft(ended_process(), "dead"), draft(ended_process(), "torn")
    for folder in (fresh, old, dead):
        folder.mkdir()
    torn.write_text("{")
    age(old, 2 * DRAFT_AGE_S)
    foreign = quiet.with_name(".lease.tmp")
    foreign.mkdir()
    taken(quiet).release()
    assert left(quiet) == sorted([fresh.name, foreign.name])


def test_what_is_left_of_a_killed_release_is_cleared(quiet: Path) -> None:
    quiet.mkdir()
    assert look(quiet) is None
    clear(quiet)
    assert left(quiet) == []
    lease = taken(quiet)
    clear(quiet)
    assert lease.beat(), "a living holder's stays"
    held_by_the_dead = msgspec.structs.asdict(process()) | {"pid": ended_process()}
    lease.file.write_text(json.dumps(held_by_the_dead))
    clear_dead(quiet.parent)
    assert left(quiet) == []


def test_a_claim_without_a_folder_to_be_in_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        claim(tmp_path / "absent" / ".lease")


def test_where_nothing_can_be_made_nobody_is_said_to_hold_it() -> None:
    with pytest.raises(FileNotFoundError):
        claim(Path("/proc/.x.lease"))


def test_a_claimer_whose_draft_was_taken_for_litter_claims_all_the_same(
    quiet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename, lost = os.rename, []

    def lose_the_first(source: Path, target: Path) -> None:
        if not lost:
            lost.append(source)
            shutil.rmtree(source)
        rename(source, target)

    monkeypatch.setattr(os, "rename", lose_the_first)
    taken(quiet).release()
    assert len(lost) == 1


def test_holding_waits_for_one_who_is_about_to_end(quiet: Path) -> None:
    lease = taken(quiet)
    timer = threading.Timer(0.1, lease.release)
    timer.start()
    with hold(quiet) as ours:
        assert ours.beat()
    timer.join()
    assert left(quiet) == []


def test_holding_what_is_held_names_the_holder(
    quiet: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(lease_module, "PATIENCE_S", 0.3)
    monkeypatch.setattr("aqr_exp.files.progress.TOLD_AFTER_S", 0.05)
    with (
        hold(quiet),
        pytest.raises(LockHeldError, match=f"is worked on by process {os.getpid()} on "),
        hold(quiet),
    ):
        pass
    told = f"waiting for {quiet.parent.name}, which is worked on by {process()}\n"
    assert capsys.readouterr().err == told


def test_the_heartbeat_tells_of_the_loss(quiet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aqr_exp.store.lease.BEAT_S", 0.01)
    beaten, lost = threading.Event(), threading.Event()
    with hold(quiet, on_beat=beaten.set, on_loss=lost.set) as lease:
        assert beaten.wait(60)
        evict(lease.file)
        assert lost.wait(60)
    assert left(quiet) == []


def test_a_forked_copy_releases_nothing(quiet: Path) -> None:
    with contextlib.ExitStack() as stack:
        lease = stack.enter_context(hold(quiet))
        child = os.fork()
        if child == 0:
            stack.close()
            os._exit(0)
        os.waitpid(child, 0)
        assert lease.beat()


def test_a_heartbeat_makes_the_holder_s_file_young(
    quiet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = taken(quiet)
    age(lease.file, 100.0)
    assert lease.beat()
    assert time.time() - lease.file.stat().st_mtime < 50.0
    # And when it is due, not before.
    age(lease.file, 100.0)
    assert lease.beat_when_due()
    assert time.time() - lease.file.stat().st_mtime > 50.0
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + BEAT_S + 0.1)
    assert lease.beat_when_due()
    assert time.time() - lease.file.stat().st_mtime < 50.0


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EACCES, errno.ENOSPC])
def test_a_file_system_in_trouble_takes_no_lease_away(
    quiet: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    lease = taken(quiet)

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "utime", fail)
    assert lease.beat()
    monkeypatch.undo()
    lease.release()
    assert not quiet.exists()


def test_a_kill_while_a_lease_is_handed_over_keeps_nobody_from_it(
    quiet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = taken(quiet)
    write = lease_module._write

    def killed(file: Path, holder: object) -> None:
        write(file, holder)
        raise KeyboardInterrupt

    monkeypatch.setattr(lease_module, "_write", killed)
    with pytest.raises(KeyboardInterrupt):
        lease.hand_over(os.getpid())
    monkeypatch.undo()
    # Whatever else lay in the lease's folder would outlive its holder's file, and the folder with it.
    assert [file.name for file in quiet.iterdir()] == [lease.file.name]
    lease.release()
    assert not quiet.exists()
    taken(quiet).release()
