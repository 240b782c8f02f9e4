import dataclasses
import hashlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from aqr_exp.data.workers import run_in_workers
from aqr_exp.errors import AqrExpError
from aqr_exp.synth import generate
from aqr_exp.synth.generate import generate_dataset, is_generated, stored_settings
from aqr_exp.synth.settings import SynthSettings

SMALL = SynthSettings(
    train_scenes=1, val_scenes=1, keyframes=2, image_width=96, image_height=54, azimuth_steps=72
)


def hashes(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != "files.json"  # when each was written
    }


@pytest.fixture(scope="module")
def small_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("small") / "synth"
    seen: list[tuple[int, int]] = []
    generate_dataset(root, SMALL, workers=1, progress=lambda done, all_: seen.append((done, all_)))
    assert seen == [(1, 2), (2, 2)]
    return root


def test_same_seed_same_bytes_whatever_the_workers_another_seed_differs(
    small_root: Path, tmp_path: Path
) -> None:
    generate_dataset(tmp_path / "again", SMALL, workers=2)
    first, again = hashes(small_root), hashes(tmp_path / "again")
    assert first == again
    # 7 sensors x 2 keyframes x 2 scenes, 2 x (2 + 2) sweeps, 13 tables, splits, map, and 5 more.
    assert len(first) == 28 + 8 + 13 + 1 + 1 + 5
    other = dataclasses.replace(SMALL, seed=1)
    generate_dataset(tmp_path / "other", other, workers=2)
    changed = {
        name for name, value in hashes(tmp_path / "other").items() if first.get(name) != value
    }
    assert {name for name in first if name.startswith(("samples/", "sweeps/"))} <= changed
    assert "aqr_infos/fingerprint.json" in changed


def test_it_knows_what_it_was_made_from(small_root: Path, tmp_path: Path) -> None:
    assert is_generated(small_root, SMALL)
    assert not is_generated(small_root, dataclasses.replace(SMALL, seed=1))
    assert stored_settings(tmp_path) is None
    fingerprint = json.loads((small_root / "aqr_infos" / "fingerprint.json").read_text())
    assert fingerprint["splits"] == {"synth_train": 2, "synth_val": 2}
    assert fingerprint["synthetic"] is True
    assert fingerprint["version"] == "v1.0-synth"


def test_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(generate, "_generate_scenes", lambda *_: [])
    monkeypatch.setattr(generate, "write_tables", full)
    with pytest.raises(OSError, match="No space left"):
        generate_dataset(tmp_path / "synth", SMALL, workers=1)
    assert list(tmp_path.iterdir()) == []


def test_failure_keeps_the_old_data_and_success_replaces_them(
    small_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "synth"
    shutil.copytree(small_root, root)
    before = hashes(root)
    other = dataclasses.replace(SMALL, seed=5)
    with monkeypatch.context() as patch:
        patch.setattr(generate, "write_infos", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            generate_dataset(root, other, workers=1)
    assert hashes(root) == before
    assert list(tmp_path.iterdir()) == [root]
    generate_dataset(root, other, workers=1)
    assert is_generated(root, other)
    assert list(tmp_path.iterdir()) == [root]


def test_foreign_data_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "holiday.jpg").write_bytes(b"x")
    with pytest.raises(FileExistsError, match=r"photos exists and is no synthetic data set"):
        generate_dataset(tmp_path / "photos", SMALL, workers=1)
    assert (tmp_path / "photos" / "holiday.jpg").read_bytes() == b"x"


def test_workers_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"workers=0 \(allowed: 1 or more\)"):
        generate_dataset(tmp_path / "synth", SMALL, workers=0)
    assert list(tmp_path.iterdir()) == []


def test_a_link_to_another_disk_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk" / "synth").mkdir(parents=True)
    (tmp_path / "data").symlink_to(tmp_path / "disk")
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "synth")
    generate_dataset(tmp_path / "link", SMALL, workers=1)
    assert (tmp_path / "link").is_symlink()
    assert is_generated(tmp_path / "disk" / "synth", SMALL)
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["synth"]


_LONG = """
import multiprocessing
import sys
from pathlib import Path
from aqr_exp.synth.generate import generate_dataset
from aqr_exp.synth.settings import SynthSettings

def say(done, _):
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)

if __name__ == "__main__":
    settings = SynthSettings(train_scenes=2000, val_scenes=1, image_width=96, image_height=54)
    generate_dataset(Path(sys.argv[1]), settings, workers=2, progress=say)
"""


def _start_long(tmp_path: Path, root: Path) -> tuple[subprocess.Popen[str], list[int]]:
    """A generator in the middle of its work, and descriptors that tell when its workers end."""
    script = tmp_path / "long.py"
    script.write_text(_LONG)
    process = subprocess.Popen(
        [sys.executable, str(script), str(root)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    workers = [os.pidfd_open(int(pid)) for pid in process.stdout.readline().split()]
    assert len(workers) == 2
    return process, workers


def _all_end(workers: list[int]) -> bool:
    ended = [bool(select.select([worker], [], [], 60)[0]) for worker in workers]
    for worker in workers:
        os.close(worker)
    return all(ended)


def test_killed_it_leaves_nothing_at_the_final_place_no_workers_and_the_next_run_tidies_up(
    tmp_path: Path,
) -> None:
    root = tmp_path / "data" / "synth"
    process, workers = _start_long(tmp_path, root)
    with process:
        process.kill()
        process.wait()
        assert _all_end(workers)
    assert not root.exists()
    (left,) = root.parent.iterdir()
    assert left.name.startswith(f".synth.{process.pid}.")
    foreign = root.parent / left.name.replace(f".{process.pid}.", ".1.")
    foreign.mkdir()
    generate_dataset(root, SMALL, workers=1)
    # Process 1 runs: its folder is not ours to delete.
    assert sorted(root.parent.iterdir()) == sorted([root, foreign])


def test_interrupted_it_ends_without_leftovers_or_tracebacks_of_workers(tmp_path: Path) -> None:
    root = tmp_path / "data" / "synth"
    process, workers = _start_long(tmp_path, root)
    with process:
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate()
        assert _all_end(workers)
    assert process.returncode != 0
    assert errors.count("Traceback") == 1
    assert list(root.parent.iterdir()) == []


def test_a_worker_that_is_killed_is_said_to_be() -> None:
    with pytest.raises(AqrExpError) as caught:
        run_in_workers([partial(os._exit, 9)], 2, lambda _: None)
    assert str(caught.value) == "a worker process was killed (out of memory?)"
