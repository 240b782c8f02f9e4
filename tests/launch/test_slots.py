import dataclasses
import os
import re
import socket
import stat
from pathlib import Path

import pytest

from aqr_exp.errors import RequestError
from aqr_exp.launch import slots
from aqr_exp.launch.slots import SlotLeases, cpu_slots, find_slots, gpu_slots, visible_gpus
from aqr_exp.store.lease import look

LISTED = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-4404041a-04cf-1ccf-9e70-f139a9b1e23c)
"""
PARTED = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77)
  MIG 3g.20gb     Device  0: (UUID: MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f)
  MIG 3g.20gb     Device  1: (UUID: MIG-cba663e8-9bed-5b25-b243-5985ef7c9beb)
"""
LISTED_UUIDS = (
    "GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77",
    "GPU-4404041a-04cf-1ccf-9e70-f139a9b1e23c",
)


PARTS = ("cpu-1", "cpu-0")


def have_cores(monkeypatch: pytest.MonkeyPatch, *cores: int) -> None:
    """Let this process have so many cores, or those of these numbers."""
    numbers = set(range(cores[0])) if len(cores) == 1 else set(cores)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: numbers)
    monkeypatch.setattr(slots, "CPU_QUOTA", Path("/nowhere"))
    monkeypatch.delenv("SLURM_CPUS_ON_NODE", raising=False)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)


def have_gpus(monkeypatch: pytest.MonkeyPatch, folder: Path, listed: str) -> None:
    """Let a driver list these GPUs."""
    folder.mkdir(exist_ok=True)
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{listed}END\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)


@pytest.mark.parametrize(
    ("count", "cores", "threads"),
    [(None, 2, [1, 1]), (1, 2, [2]), (3, 8, [2, 2, 2]), (2, 5, [2, 2])],
)
def test_cores_are_divided_and_never_given_twice(
    count: int | None, cores: int, threads: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    have_cores(monkeypatch, cores)
    made = cpu_slots(count)
    assert [slot.threads for slot in made] == threads
    assert sum(threads) <= cores
    assert [slot.name for slot in made] == [f"cpu-{at}" for at in range(len(threads))]
    assert [slot.parts for slot in made] == [(slot.name,) for slot in made], "one thread each"
    for slot in made:
        assert slot.environment["OMP_NUM_THREADS"] == str(threads[0])
        assert slot.environment["CUDA_VISIBLE_DEVICES"] == ""


@pytest.mark.parametrize(
    ("threads", "cores", "slots_there"), [(1, 8, 8), (2, 8, 4), (3, 8, 2), (16, 8, 1), (0, 8, 8)]
)
def test_runs_of_several_threads_share_out_the_cores(
    threads: int, cores: int, slots_there: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    have_cores(monkeypatch, cores)
    assert len(find_slots(None, on_gpus=False, threads=threads)) == slots_there
    assert len(find_slots(3, on_gpus=False, threads=threads)) == 3


def test_more_slots_than_cores_have_a_thread_each(monkeypatch: pytest.MonkeyPatch) -> None:
    have_cores(monkeypatch, 2)
    assert [slot.threads for slot in cpu_slots(3)] == [1, 1, 1]


def test_a_slot_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    have_cores(monkeypatch, 16)
    made = gpu_slots(["3", "GPU-1a/2"])
    assert [slot.name for slot in made] == ["gpu-3", "gpu-GPU-1a_2"]
    assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in made] == ["3", "GPU-1a/2"]
    assert [slot.threads for slot in made] == [8, 8]
    assert made[0].environment["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert [slot.name for slot in gpu_slots(["0", "1"], 1)] == ["gpu-0"]


def test_a_run_of_several_processes_takes_as_many_gpus_or_cores(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    have_cores(monkeypatch, 16)
    made = gpu_slots(["0", "1", "2", "3", "4"], ranks=2)
    assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in made] == ["0,1", "2,3"]
    assert [slot.parts for slot in made] == [("gpu-0", "gpu-1"), ("gpu-2", "gpu-3")]
    assert [slot.name for slot in made] == ["gpu-0-1", "gpu-2-3"]
    assert [slot.threads for slot in made] == [4, 4], "of each process"
    made = cpu_slots(threads=3, ranks=2)
    assert [slot.parts for slot in made] == [
        tuple(f"cpu-{core}" for core in range(at, at + 6)) for at in (0, 6)
    ]
    assert [len(slot.parts) for slot in cpu_slots(2, threads=0, ranks=4)] == [8, 8]
    assert [slot.threads for slot in cpu_slots(2, threads=0, ranks=4)] == [2, 2]
    with pytest.raises(RequestError, match=r"^launcher.gpus_per_run=3: there are 2 GPUs \(0, 5\)$"):
        gpu_slots(["0", "5"], ranks=3)
    with pytest.raises(RequestError, match=r"--slots 2: there are 3 GPUs .*, and a run takes 2"):
        gpu_slots(["0", "1", "2"], 2, ranks=2)


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
    [(f"printf '{LISTED}'", ["0", "1"]), ("echo no driver; exit 9", []), ("echo 'No devices'", [])],
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
    names = slots.own_cores()
    if cores:  # so many and none in particular: another container's are other ones
        (namespace,) = re.findall(r"\d+", str(Path("/proc/self/ns/cgroup").readlink()))
        assert names == [f"cgroup__{namespace}_-cpu-{at}" for at in range(cores)]
    else:
        assert names == [f"cpu-{core}" for core in sorted(os.sched_getaffinity(0))]


def test_launchers_share_the_slots_of_a_machine(tmp_path: Path) -> None:
    first, second = (SlotLeases(tmp_path / "slots", cpu_slots(2)) for _ in range(2))
    one, other = first.reserve(), second.reserve()
    assert one is not None
    assert other is not None
    assert (one.slot.name, other.slot.name) == ("cpu-0", "cpu-1")
    assert first.reserve() is None
    one.release()
    again = second.reserve()
    assert again is not None
    assert again.slot.name == "cpu-0"


def test_a_slot_is_its_process(tmp_path: Path) -> None:
    leases = SlotLeases(tmp_path, cpu_slots(1))
    room = leases.reserve()
    assert room is not None
    room.hand_over(2**22 + 1)  # above the largest process number: certainly dead
    assert leases.reserve() is not None, "the slot ends with its process, whoever started it"
    taken = tmp_path / socket.gethostname() / "cpu-0"
    standing = look(taken)
    assert standing is not None
    assert standing.owner is not None
    assert standing.owner.pid == os.getpid()


@pytest.mark.parametrize(
    ("count", "threads", "parts"),
    [
        (None, 1, [("cpu-4",), ("cpu-5",), ("cpu-9",)]),
        (None, 2, [("cpu-4", "cpu-5")]),
        (1, 0, [("cpu-4", "cpu-5", "cpu-9")]),
        (1, 1, [("cpu-4",)]),
        # More than there are: each core is shared before any is shared by three.
        (4, 1, [("cpu-4",), ("cpu-5",), ("cpu-9",), ("cpu-4.1",)]),
        (2, 2, [("cpu-4", "cpu-5"), ("cpu-9", "cpu-4.1")]),
        (1, 16, [("cpu-4", "cpu-5", "cpu-9")]),
    ],
)
def test_a_slot_is_the_cores_that_its_run_takes(
    monkeypatch: pytest.MonkeyPatch, count: int | None, threads: int, parts: list[tuple[str, ...]]
) -> None:
    have_cores(monkeypatch, 4, 5, 9)
    made = cpu_slots(count, threads)
    assert [slot.parts for slot in made] == parts
    assert [slot.name for slot in made] == [one[0] for one in parts]


def test_launchers_confined_to_other_cores_do_not_wait_for_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leases = []
    for cores in ((3, 4), (5, 6), (4, 5)):
        have_cores(monkeypatch, *cores)
        leases.append(SlotLeases(tmp_path, cpu_slots(1, 2)))
    first, second = leases[0].reserve(), leases[1].reserve()
    assert first is not None
    assert second is not None
    assert leases[2].reserve() is None, "one of its cores is in use by each"
    assert f"cpu-4 is held by process {os.getpid()}" in leases[2].occupied()
    first.release()
    assert leases[2].reserve() is None
    assert leases[0].reserve() is not None, "what it could not have it did not keep"
    second.release()


def test_a_slot_of_which_a_core_is_taken_meanwhile_is_given_back_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    have_cores(monkeypatch, 5)
    assert SlotLeases(tmp_path, cpu_slots(1, 1)[:1]).reserve() is not None  # holds cpu-0
    have_cores(monkeypatch, 0, 1)
    both = SlotLeases(tmp_path, cpu_slots(1, 2))
    reversed_parts = SlotLeases(tmp_path, [dataclasses.replace(cpu_slots(1, 2)[0], parts=PARTS)])
    monkeypatch.setattr(slots, "standing", lambda _: [])  # a look that came a moment too early
    assert both.reserve() is None
    assert reversed_parts.reserve() is None
    assert look(tmp_path / socket.gethostname() / "cpu-1") is None


def test_a_job_that_is_not_confined_has_cores_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    have_cores(monkeypatch, 8)
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "2")
    held = []
    for job, step in (("7", None), ("8", None), ("8", "0"), ("8", "1")):
        monkeypatch.setenv("SLURM_JOB_ID", job)
        monkeypatch.setenv("SLURM_STEP_ID", step) if step else None
        leases = SlotLeases(tmp_path, cpu_slots())
        held += [leases.reserve(), leases.reserve()]
        assert leases.reserve() is None
    names = [one.slot.name for one in held if one]
    jobs = ("job-7-batch", "job-8-batch", "job-8-0", "job-8-1")
    assert names == [f"{job}-cpu-{at}" for job in jobs for at in range(2)]


def test_a_job_that_is_confined_has_the_cores_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    have_cores(monkeypatch, 2, 3)
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "2")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert slots.own_cores() == ["cpu-2", "cpu-3"]
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "nonsense")
    assert slots.own_cores() == ["cpu-2", "cpu-3"]


def test_a_gpu_is_one_slot_whatever_a_process_calls_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    have_gpus(monkeypatch, tmp_path / "bin", LISTED)
    by_number, by_uuid = gpu_slots(["0", "1"]), gpu_slots(["GPU-4404041a", LISTED_UUIDS[0]])
    assert [slot.name for slot in by_number] == ["gpu-0", "gpu-1"]
    assert [slot.parts for slot in by_number] == [(f"gpu-{uuid}",) for uuid in LISTED_UUIDS]
    assert [slot.parts for slot in by_uuid] == [by_number[1].parts, by_number[0].parts]
    assert by_uuid[0].environment["CUDA_VISIBLE_DEVICES"] == "GPU-4404041a"
    # Another job, confined to the other GPU, calls that one 0.
    have_gpus(
        monkeypatch, tmp_path / "bin", LISTED.splitlines(keepends=True)[1].replace("1:", "0:")
    )
    assert gpu_slots(["0"])[0].parts == by_number[1].parts
    first = SlotLeases(tmp_path / "slots", by_number[:1])
    other = SlotLeases(tmp_path / "slots", gpu_slots(["0"]))
    assert first.reserve() is not None
    assert other.reserve() is not None
    assert SlotLeases(tmp_path / "slots", by_uuid).reserve() is None


def test_a_gpu_in_parts_is_its_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    have_gpus(monkeypatch, tmp_path / "bin", PARTED)
    assert gpu_slots(["0"])[0].parts == ("gpu-MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f",)
    second = gpu_slots(["MIG-cba663e8-9bed-5b25-b243-5985ef7c9beb"])
    assert second[0].parts == ("gpu-MIG-cba663e8-9bed-5b25-b243-5985ef7c9beb",)


def test_without_a_driver_a_jobs_gpus_are_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    have_gpus(monkeypatch, tmp_path / "bin", "")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert gpu_slots(["0"])[0].parts == ("gpu-job-7-batch-0",)


def test_dead_slots_are_cleared(tmp_path: Path) -> None:
    leases = SlotLeases(tmp_path, cpu_slots(2))
    leases.clear_dead()
    one, other = leases.reserve(), leases.reserve()
    assert one is not None
    assert other is not None
    one.hand_over(2**22 + 1)
    leases.clear_dead()
    assert [p.name for p in tmp_path.glob("*/*")] == ["cpu-1"]
