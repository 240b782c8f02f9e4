import os
import socket
import stat
from pathlib import Path

import pytest

from aqr_exp.errors import RequestError
from aqr_exp.launch import slots
from aqr_exp.launch.slots import SlotLeases, cpu_slots, find_slots, gpu_slots, visible_gpus
from aqr_exp.store.lease import look


@pytest.mark.parametrize(
    ("count", "cores", "threads"),
    [(None, 2, [1, 1]), (1, 2, [2]), (3, 8, [2, 2, 2]), (2, 5, [2, 2])],
)
def test_cores_are_divided_and_never_given_twice(
    count: int | None, cores: int, threads: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slots, "usable_cores", lambda: cores)
    made = cpu_slots(count)
    assert [slot.threads for slot in made] == threads
    assert sum(threads) <= cores
    assert [slot.name for slot in made] == [f"cpu-{at}" for at in range(len(threads))]
    for slot in made:
        assert slot.environment["OMP_NUM_THREADS"] == str(threads[0])
        assert slot.environment["CUDA_VISIBLE_DEVICES"] == ""


@pytest.mark.parametrize(
    ("threads", "cores", "slots_there"), [(1, 8, 8), (2, 8, 4), (3, 8, 2), (16, 8, 1), (0, 8, 8)]
)
def test_runs_of_several_threads_share_out_the_cores(
    threads: int, cores: int, slots_there: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slots, "usable_cores", lambda: cores)
    assert len(find_slots(None, on_gpus=False, threads=threads)) == slots_there
    assert len(find_slots(3, on_gpus=False, threads=threads)) == 3


def test_more_slots_than_cores_have_a_thread_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "usable_cores", lambda: 2)
    assert [slot.threads for slot in cpu_slots(3)] == [1, 1, 1]


def test_a_slot_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "usable_cores", lambda: 16)
    made = gpu_slots(["3", "GPU-1a/2"])
    assert [slot.name for slot in made] == ["gpu-3", "gpu-GPU-1a_2"]
    assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in made] == ["3", "GPU-1a/2"]
    assert [slot.threads for slot in made] == [8, 8]
    assert made[0].environment["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert [slot.name for slot in gpu_slots(["0", "1"], 1)] == ["gpu-0"]


@pytest.mark.parametrize("count", [0, -1])
def test_no_slots_are_refused(count: int) -> None:
    with pytest.raises(RequestError, match=f"--slots {count}: must be at least 1"):
        cpu_slots(count)


def test_more_slots_than_gpus_are_refused() -> None:
    with pytest.raises(RequestError, match=r"--slots 3: there are 2 GPUs \(0, 5\)"):
        gpu_slots(["0", "5"], 3)


@pytest.mark.parametrize(
    ("given", "gpus"),
    [
        ("", []),
        ("-1", []),
        ("2", ["2"]),
        ("1, 0", ["1", "0"]),
        ("0,-1,2", ["0"]),
        ("a,b", ["a", "b"]),
    ],
)
def test_the_visible_devices_are_cudas(given: str, gpus: list[str]) -> None:
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": given}) == gpus


@pytest.mark.parametrize(
    ("script", "gpus"),
    [("printf '0\\n1\\n'", ["0", "1"]), ("echo no driver; exit 9", []), ("echo 'No devices'", [])],
)
def test_the_driver_is_asked_where_nothing_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, gpus: list[str]
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert visible_gpus({}) == gpus


def test_without_gpus_the_cores_are_the_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert find_slots(2, on_gpus=True)[0].name == "cpu-0"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    assert [slot.name for slot in find_slots(None, on_gpus=True)] == ["gpu-4", "gpu-5"]
    assert find_slots(1, on_gpus=False)[0].name == "cpu-0"


@pytest.mark.parametrize(
    ("content", "cores"),
    [
        ("150000 100000\n", 1),
        ("50000 100000\n", 1),
        ("max 100000\n", None),
        ("x", None),
        (None, None),
    ],
)
def test_a_containers_share_of_the_cores_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, cores: int | None
) -> None:
    quota = tmp_path / "cpu.max"
    if content is not None:
        quota.write_text(content)
    monkeypatch.setattr(slots, "CPU_QUOTA", quota)
    assert slots.usable_cores() == (cores or len(os.sched_getaffinity(0)))


def test_launchers_share_the_slots_of_a_machine(tmp_path: Path) -> None:
    first, second = (SlotLeases(tmp_path / "slots", cpu_slots(2)) for _ in range(2))
    one, other = first.reserve(), second.reserve()
    assert one is not None
    assert other is not None
    assert (one.slot.name, other.slot.name) == ("cpu-0", "cpu-1")
    assert first.reserve() is None
    one.lease.release()
    again = second.reserve()
    assert again is not None
    assert again.slot.name == "cpu-0"


def test_a_slot_is_its_process(tmp_path: Path) -> None:
    leases = SlotLeases(tmp_path, cpu_slots(1))
    room = leases.reserve()
    assert room is not None
    room.lease.hand_over(2**22 + 1)  # above the largest process number: certainly dead
    assert leases.reserve() is not None, "the slot ends with its process, whoever started it"
    taken = tmp_path / socket.gethostname() / "cpu-0"
    standing = look(taken)
    assert standing is not None
    assert standing.owner is not None
    assert standing.owner.pid == os.getpid()


def test_dead_slots_are_cleared(tmp_path: Path) -> None:
    leases = SlotLeases(tmp_path, cpu_slots(2))
    leases.clear_dead()
    one, other = leases.reserve(), leases.reserve()
    assert one is not None
    assert other is not None
    one.lease.hand_over(2**22 + 1)
    leases.clear_dead()
    assert [p.name for p in tmp_path.glob("*/*")] == ["cpu-1"]
