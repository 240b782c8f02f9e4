"""What the system's own files say of a machine and its disks, where a lease's owner may be dead."""

import math
import os
from pathlib import Path

import pytest
from in_a_child import in_child

from aqr_exp.store import process_identity

MOUNTS = r"""
36 35 0:40 / /results\040of\040ann rw,relatime shared:9 - nfs4 server:/ann rw
37 36 8:17 / /results\040of\040ann/scratch rw - xfs /dev/sdb1 rw
38 35 8:18 / /home rw - ext4 /dev/sdc1 rw
39 38 0:41 / /home rw - fuse.sshfs home: rw
35 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
""".lstrip()


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(process_identity, "PROC", tmp_path)
    (tmp_path / "self").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("place", "own"),
    [
        ("/scratch/run/a.json", True),
        ("/results of ann/run/a.json", False),
        ("/results of anna/run/a.json", True),
        ("/results of ann/scratch/run/a.json", True),
        ("/home/ann/a.json", False),  # what was mounted last over a folder is what one sees
    ],
)
def test_a_disk_is_that_of_the_deepest_mount(proc: Path, place: str, own: bool) -> None:
    (proc / "self" / "mountinfo").write_text(MOUNTS)
    assert process_identity._on_own_disk(Path(place)) is own


@pytest.mark.parametrize("content", [None, "", "no mounts\n"])
def test_unknown_mounts_are_nobodys_own(proc: Path, content: str | None) -> None:
    if content is not None:
        (proc / "self" / "mountinfo").write_text(content)
    assert not process_identity._on_own_disk(Path("/scratch/a.json"))


@pytest.mark.parametrize(
    ("content", "seconds"),
    [("12.5 40.1\n", 12.5), ("", math.inf), ("soon", math.inf), (None, math.inf)],
)
def test_the_uptime_is_infinite_where_it_is_unknown(
    proc: Path, content: str | None, seconds: float
) -> None:
    if content is not None:
        (proc / "uptime").write_text(content)
    assert process_identity._uptime_s() == seconds


@pytest.mark.parametrize(
    ("content", "found"), [(b" ab-12\n", "ab-12"), (b"\n", None), (b"\xff", None)]
)
def test_an_identifier_that_cannot_be_read_is_none(
    tmp_path: Path, content: bytes, found: str | None
) -> None:
    (tmp_path / "boot_id").write_bytes(content)
    assert process_identity._line(tmp_path / "boot_id") == found
    assert process_identity._line(tmp_path / "absent") is None


def test_a_process_is_read_whatever_its_name_holds(proc: Path) -> None:
    (proc / "7" / "task" / "7").mkdir(parents=True)
    fields = " ".join(str(number) for number in range(4, 52))
    (proc / "7" / "stat").write_text(f"7 (a) R (b) Z {fields}\n")
    # The state is the third field and the start the twenty-second.
    assert process_identity._stat(7) == ("Z", 22)
    assert process_identity._threads(7) == 1
    assert process_identity._stat(8) is None
    assert process_identity._threads(8) == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
def test_a_process_of_another_user_is_there() -> None:
    def as_nobody() -> bool:
        os.setuid(65534)
        with pytest.raises(PermissionError):
            os.kill(1, 0)
        return process_identity.is_gone(1)

    assert in_child(as_nobody) is False
