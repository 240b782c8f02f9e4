"""`data prepare` from whatever state a root is in: it ends right, or names the file that is in the way."""

import json
import os
import pickle
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from planted_faults import FAULTS, VERSION, key_file, rewrite, rows

from aqr_exp.cli.main import main
from aqr_exp.config.inputs import info_folder, read_data_identity
from aqr_exp.data.checks.data_root import check_root
from aqr_exp.evaluate.ground_truth import load_ground_truth
from aqr_exp.store import lease
from aqr_exp.store.lease import hold


@pytest.fixture
def copy(synth_root: Path, tmp_path: Path) -> Path:
    """A copy that shares the bytes of what is not changed: a changed file is written anew."""
    root = tmp_path / "a copy; it's"
    shutil.copytree(synth_root, root, copy_function=os.link)
    return root


def prepare(root: Path, *options: str) -> int:
    return main(["data", "prepare", "--root", str(root), "--no-objects", *options])


def contents(folder: Path) -> dict[str, bytes]:
    """All but the records, which hold times."""
    found = (path for path in sorted(folder.rglob("*")) if path.name != "files.json")
    files = [path for path in found if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.mark.parametrize("plant", FAULTS, ids=lambda plant: plant.__name__)
def test_it_refuses_in_one_line_or_mends_what_the_check_finds(
    copy: Path,
    synth_root: Path,
    plant: Callable[[Path], tuple[str, str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    sound = contents(info_folder(synth_root))
    file, cause = plant(copy)
    before = contents(info_folder(copy))
    if not file.startswith("aqr_infos/") and plant.__name__ != "replaced_image":
        assert prepare(copy) == 2
        assert capsys.readouterr().err.splitlines()[-1] == f"aqr-exp: {file}: {cause}"
        assert contents(info_folder(copy)) == before
        return
    if "made from v1.0-mini" in cause:
        assert prepare(copy) == 2
        return
    assert prepare(copy) == 0
    assert check_root(copy, VERSION, None).faults == []
    mended = contents(info_folder(copy))
    if plant.__name__ == "replaced_image":
        assert mended.pop("fingerprint.json") != sound["fingerprint.json"]
    assert mended.items() <= sound.items()


def test_every_image_is_looked_at_even_of_data_too_large_to_be_read(
    copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("aqr_exp.data.preparation.HASH_WHOLE_BYTES", 0)
    monkeypatch.setattr("aqr_exp.data.preparation.SAMPLED", 1)
    path, row = key_file(copy, "CAM_BACK")
    rewrite(path, b"")
    assert prepare(copy) == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"aqr-exp: {row['filename']}: empty"


def test_a_cloud_that_changes_after_the_checks_is_named(copy: Path, tmp_path: Path) -> None:
    from aqr_exp.data.gt_database.build import build_database
    from aqr_exp.errors import AqrExpError

    path, _ = key_file(copy, "LIDAR_TOP")
    content = path.read_bytes()
    rewrite(path, content[:-3])  # within a number: whole numbers alone would divide
    with pytest.raises(AqrExpError, match=f"{path.name}: {len(content) - 3} bytes are no multiple"):
        build_database(copy, "synth_train", workers=1)


def foreign_identity(root: Path) -> None:
    rewrite(info_folder(root) / "fingerprint.json", b"<html>")


def identity_without_infos(root: Path) -> None:
    (info_folder(root) / "synth_val.pkl").unlink()


def empty_infos(root: Path) -> None:
    rewrite(info_folder(root) / "synth_train.pkl", b"")


def infos_of_an_older_version(root: Path) -> None:
    path = info_folder(root) / "synth_train.pkl"
    content = pickle.loads(path.read_bytes())
    content["metainfo"]["info_version"] = "1.0"
    rewrite(path, pickle.dumps(content))


def half_made(root: Path) -> None:
    """What a killed preparation leaves: parts, one of them empty, and files being written."""
    folder = info_folder(root)
    parts = folder / f".parts-{VERSION}"
    parts.mkdir()
    (parts / "scene-0001.json").write_text("")
    (parts / "stamp.json").write_text("{")
    (folder / ".synth_train.pkl.12.0123abcd.tmp").write_text("half")
    (folder / ".synth_train.objects.old").mkdir()
    (folder / "fingerprint.json").unlink()


@pytest.mark.parametrize(
    "spoil",
    [
        foreign_identity,
        identity_without_infos,
        empty_infos,
        infos_of_an_older_version,
        half_made,
        lambda root: shutil.rmtree(info_folder(root)),
        lambda root: (info_folder(root) / "files.json").unlink(),
    ],
)
def test_whatever_was_derived_the_same_bytes_come_out(
    copy: Path, synth_root: Path, spoil: Callable[[Path], None]
) -> None:
    spoil(copy)
    assert prepare(copy) == 0
    assert contents(info_folder(copy)) == contents(info_folder(synth_root))
    assert (info_folder(copy) / "files.json").is_file()
    assert check_root(copy, VERSION, None).faults == []


@pytest.mark.parametrize(
    ("table", "column", "value", "cause"),
    [
        ("log", "logfile", None, "no such table: Object missing required field `logfile`"),
        ("scene", "description", None, "no such table: Object missing required field"),
        ("scene", "name", "scene-0002", "two scenes have the name scene-0002"),
        ("sample_annotation", "visibility_token", "v40-60", "is v40-60, no visibility"),
    ],
)
def test_tables_that_the_info_files_need_otherwise_are_faults(
    copy: Path,
    capsys: pytest.CaptureFixture[str],
    table: str,
    column: str,
    value: str | None,
    cause: str,
) -> None:
    content = rows(copy, table)
    del content[0][column]
    content[0].update({} if value is None else {column: value})
    splits = {"synth_train": ["scene-0002"], "synth_val": ["scene-0003"]}
    rewrite(copy / VERSION / "splits.json", json.dumps(splits).encode())
    rewrite(copy / VERSION / f"{table}.json", json.dumps(content).encode())
    assert prepare(copy) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith(f"aqr-exp: {VERSION}/{table}.json: ")
    assert cause in line


@pytest.mark.parametrize(
    ("splits", "cause"),
    [
        ('{"mine": ["scene-0001", "scene-0009"]}', "mine names scene-0009, which scene.json lacks"),
        (
            '{"../mine": ["scene-0001"]}',
            "splits.json: '../mine' is no split's name (allowed: letters, ",
        ),
        (
            '{"train": ["scene-0001"]}',
            "splits.json: 'train' is no split's name (allowed: letters, ",
        ),
        ('["scene-0001"]', " is damaged: Expected `object`, got `array`"),
        ('{"mine": []}', f"no scene of split mine in ROOT/{VERSION}"),
    ],
)
def test_splits_that_cannot_be_are_refused(
    copy: Path, capsys: pytest.CaptureFixture[str], splits: str, cause: str
) -> None:
    shutil.rmtree(info_folder(copy))
    rewrite(copy / VERSION / "splits.json", splits.encode())
    assert prepare(copy) == 2
    assert cause.replace("ROOT", str(copy)) in capsys.readouterr().err.splitlines()[-1]
    assert not info_folder(copy).exists()


def test_a_pipe_in_place_of_a_table_is_not_waited_for(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = copy / VERSION / "ego_pose.json"
    path.unlink()
    os.mkfifo(path)
    assert prepare(copy) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line == f"aqr-exp: {VERSION}/ego_pose.json: it is a FIFO, not a file"


def test_the_test_version_and_tables_without_annotations_are_refused(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    why = "nothing can be trained or scored on it (use v1.0-trainval or v1.0-mini)"
    for table in ("sample_annotation", "instance"):
        rewrite(copy / VERSION / f"{table}.json", b"[]")
    assert prepare(copy) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line == f"aqr-exp: {VERSION}/sample_annotation.json: no annotations: {why}"
    shutil.rmtree(info_folder(copy))
    (copy / VERSION).rename(copy / "v1.0-test")
    (copy / "v1.0-test" / "splits.json").unlink()
    assert prepare(copy, "--version", "v1.0-test") == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line == f"aqr-exp: v1.0-test has no annotations: {why}"


def dry_run(root: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """The plan of a run, whose detector does not depend on the data."""
    words = ["run", "baseline", f"data.root={str(root)!r}", "preset=smoke", "--dry-run", "--json"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("aqr_exp.cli.run.outline_of", lambda *_, **__: [{"faults": []}])
        assert main(words) == 0
    plan: dict[str, Any] = json.loads(capsys.readouterr().out)
    return plan


def test_keyframes_alone_are_another_data_set_that_can_be_trained_on(
    copy: Path, synth_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (copy / "sweeps").rename(tmp_path / "sweeps")
    assert prepare(copy) == 2
    assert (
        capsys.readouterr()
        .err.splitlines()[-1]
        .endswith("--keyframes-only does without LiDAR sweeps")
    )
    assert prepare(copy, "--keyframes-only") == 0
    assert capsys.readouterr().err.endswith(
        f"{copy}: {VERSION} is prepared as another data set: keyframes only\n"
    )
    assert read_data_identity(copy)["keyframes_only"] is True
    whole = read_data_identity(synth_root)["fingerprint"]
    assert read_data_identity(copy)["fingerprint"] != whole
    infos = pickle.loads((info_folder(copy) / "synth_train.pkl").read_bytes())["data_list"]
    assert [info["lidar_sweeps"] for info in infos] == [[]] * 6
    assert main(["data", "check", "--root", str(copy), "--all"]) == 0
    assert "not checked: what was not prepared (keyframes only)" in capsys.readouterr().err
    assert f"the data are a part of {VERSION}: keyframes only" in dry_run(copy, capsys)["notes"]
    picture = tmp_path / "sample.png"
    words = ["data", "show", "1", f"data.root={str(copy)!r}", "--augmented", "--out", str(picture)]
    assert main(words) == 0
    assert picture.stat().st_size > 10_000
    # Stray sweeps are not read, so they do not count.
    before = contents(info_folder(copy))
    (tmp_path / "sweeps").rename(copy / "sweeps")
    assert prepare(copy, "--keyframes-only") == 0
    assert contents(info_folder(copy)) == before
    assert prepare(copy) == 0
    assert contents(info_folder(copy)) == contents(info_folder(synth_root))


def test_of_a_partial_download_the_whole_scenes_are_used_and_the_others_named(
    copy: Path, synth_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scene = {row["token"]: row["name"] for row in rows(copy, "scene")}
    of = {row["token"]: scene[row["scene_token"]] for row in rows(copy, "sample")}
    sweeps = [row for row in rows(copy, "sample_data") if of[row["sample_token"]] == "scene-0002"]
    damaged = next(row for row in sweeps if "LIDAR" in row["filename"])
    rewrite(copy / damaged["filename"], b"")
    assert prepare(copy) == 2
    assert prepare(copy, "--partial") == 0
    said = capsys.readouterr().err
    assert f"left out: scene-0002: {damaged['filename']}: empty\n" in said
    assert said.endswith(f"{copy}: {VERSION} is prepared as another data set: 2 scenes only\n")
    identity = read_data_identity(copy)
    assert identity["scenes"] == ["scene-0001", "scene-0003"]
    assert identity["splits"] == {"synth_train": 3, "synth_val": 3}
    assert identity["fingerprint"] != read_data_identity(synth_root)["fingerprint"]
    assert main(["data", "check", "--root", str(copy), "--all", "--json"]) == 0
    counts = json.loads(capsys.readouterr().out)["counts"]
    assert (counts["scene"], counts["sample"], counts["CAM_BACK"], counts["sweeps"]) == (
        2,
        6,
        6,
        12,
    )
    assert dry_run(copy, capsys)["samples"] == 3
    words = ["data", "show", "0", f"data.root={str(copy)!r}", "--out", str(tmp_path / "x.png")]
    assert main(words) == 0
    # The evaluation counts what was prepared, and not what an earlier preparation held.
    whole = load_ground_truth(copy, VERSION, "synth_train")
    assert whole.samples.scene_names == ("scene-0001",)
    link = (synth_root / damaged["filename"]).read_bytes()
    rewrite(copy / damaged["filename"], link)
    assert prepare(copy, "--partial") == 0
    assert load_ground_truth(copy, VERSION, "synth_train").samples.scene_names == (
        "scene-0001",
        "scene-0002",
    )
    # Everything is whole by now: the same as without --partial.
    named = ("fingerprint.json", "synth_train.pkl", "synth_val.pkl")
    whole_bytes = contents(info_folder(synth_root))
    assert {name: contents(info_folder(copy))[name] for name in named} == {
        name: whole_bytes[name] for name in named
    }
    third = next(r for r in rows(copy, "sample_data") if of[r["sample_token"]] == "scene-0003")
    (copy / third["filename"]).unlink()
    assert prepare(copy, "--partial") == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line == f"aqr-exp: no scene of split synth_val in {copy}/{VERSION} is whole"


def test_two_at_once_one_works_and_the_other_says_for_whom_it_waited(
    copy: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "PATIENCE_S", 0.1)
    path = info_folder(copy) / ".lease"
    with hold(path):
        assert prepare(copy) == 0  # nothing to do, nothing to wait for
        capsys.readouterr()
        (info_folder(copy) / "synth_val.pkl").unlink()
        assert prepare(copy) == 2
        line = capsys.readouterr().err.splitlines()[-1]
        assert line.startswith(f"aqr-exp: {copy} is worked on by process {os.getpid()} on ")
        assert line.endswith(": wait for it, or remove aqr_infos/.lease if it is dead")
        words = ["data", "synth", "--root", str(copy), "--seed", "9", "--force", "--workers", "1"]
        assert main(words) == 2
        assert f"{copy} is worked on by process" in capsys.readouterr().err
    assert prepare(copy) == 0
    assert not path.exists()


def test_data_that_another_process_makes_are_not_made_over_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "PATIENCE_S", 0.1)
    root = tmp_path / "data" / "synth"
    root.parent.mkdir()
    with hold(root.with_name(".synth.lease")):
        assert main(["data", "synth", "--root", str(root)]) == 2
        assert f"aqr-exp: {root} is worked on by process {os.getpid()}" in capsys.readouterr().err
    assert list(root.parent.iterdir()) == []


# Children of one process that has loaded everything: each is killed before its n-th change of a file.
KILLED = """
import os, random, signal, sys
from pathlib import Path
import aqr_exp.data.gt_database.build
from aqr_exp.cli.main import main
import aqr_exp.data.preparation, nuscenes, cv2

CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link"}

def child(root, kill_at):
    left = [kill_at]
    def hook(event, arguments):
        writes = event == "open" and isinstance(arguments[1], str) and arguments[1][:1] in "wxa"
        if event in CHANGES or writes:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)
    cv2.setNumThreads(0)
    sys.stdout = sys.stderr = open(os.devnull, "a")
    os._exit(main(["data", "prepare", "--root", root, "--workers", "1"]))

random.seed(int(sys.argv[2]))
kills = 0
while True:
    pid = os.fork()
    if pid == 0:
        child(sys.argv[1], random.randint(1, 12) + 4 * kills)
    status = os.waitpid(pid, 0)[1]
    if not os.WIFSIGNALED(status):
        break
    kills += 1
print(kills, os.waitstatus_to_exitcode(status))
"""


@pytest.mark.parametrize("seed", [0, 1])
def test_killed_before_any_change_of_a_file_the_next_call_ends_with_the_same_bytes(
    copy: Path, prepared_root: Path, tmp_path: Path, seed: int
) -> None:
    shutil.rmtree(info_folder(copy))
    script = tmp_path / "killed.py"
    script.write_text(textwrap.dedent(KILLED))
    command = [sys.executable, str(script), str(copy), str(seed)]
    printed = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert printed.returncode == 0, printed.stderr
    kills, code = map(int, printed.stdout.split())
    assert code == 0
    assert kills >= 4
    assert contents(info_folder(copy)) == contents(info_folder(prepared_root))


def test_points_that_are_no_numbers_are_found_in_any_cloud(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = [row for row in rows(copy, "sample_data") if not row["is_key_frame"]][-1]
    points = np.fromfile(copy / row["filename"], np.float32)
    points[7] = np.inf
    rewrite(copy / row["filename"], points.tobytes())
    assert prepare(copy) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    cause = f"1 of {len(points) // 5} points hold numbers that are not finite"
    assert line == f"aqr-exp: {row['filename']}: {cause}"
