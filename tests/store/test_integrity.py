import json
from pathlib import Path

import pytest
from made_up_runs import as_older, make_data_set, make_run

from aqr_exp.cli.main import main
from aqr_exp.errors import AqrExpError
from aqr_exp.store.collect import read_row
from aqr_exp.store.run_files import HISTORY, check_sizes
from aqr_exp.store.run_folder import RunFolder
from aqr_exp.store.store import Store, file_hashes
from aqr_exp.store.verify import Integrity, check_run


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("AQR_EXP_RESULTS", str(tmp_path / "results"))
    return Store(tmp_path / "results")


@pytest.fixture
def folder(store: Store, tmp_path: Path) -> RunFolder:
    return make_run(store, make_data_set(tmp_path / "data"), seed=1)


def checked(store: Store, folder: RunFolder) -> Integrity:
    with file_hashes(store) as sha256_of:
        return check_run(folder, sha256_of)


def test_a_run_as_it_was_left_is_intact(store: Store, folder: RunFolder) -> None:
    assert checked(store, folder) == Integrity()
    assert str(checked(store, folder)) == "every file fits its checksum"
    row = read_row(folder)
    assert (row.verified, row.attempt, row.resumed) == (True, 2, 1)


def test_what_completion_found_is_kept_beside_the_metrics(folder: RunFolder) -> None:
    files = json.loads(folder.metrics_path.read_text())["files"]
    below = ("checkpoints/epoch_1.pth", "checkpoints/epoch_2.pth", "predictions/mini_val.json")
    assert sorted(files) == sorted(["history.jsonl", "records.npz", *below])
    metrics = folder.read_metrics()
    assert files["records.npz"]["sha256"] == metrics["records_sha256"]
    assert files["checkpoints/epoch_1.pth"]["bytes"] == 500
    assert "files" not in metrics
    assert "checksum" not in metrics


def test_every_damaged_file_is_named(store: Store, folder: RunFolder) -> None:
    predictions = folder.predictions_path("mini_val")
    predictions.write_bytes(predictions.read_bytes().replace(b"0.1", b"0.2", 1))
    record = folder.record_path
    record.write_text(record.read_text().replace('"seed": 1', '"seed": 2'))
    checkpoint = folder.checkpoints_dir / "epoch_2.pth"
    checkpoint.write_bytes(b"")
    folder.records_path.unlink()
    found = checked(store, folder)
    assert set(found.faults) == {
        f"{predictions} is damaged: it is not what it was when the run completed",
        f"{record} is damaged: its content does not fit its checksum",
        f"{checkpoint} is damaged: 0 bytes, 500 when the run completed",
    }
    assert found.missing == ("records.npz",)
    assert str(found) == "; ".join(found.faults)


@pytest.mark.parametrize("checksums", [True, False])
def test_a_run_of_an_older_version_is_said_to_be_unverified(
    store: Store, folder: RunFolder, checksums: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    before = read_row(folder)
    folder = as_older(folder, checksums=checksums)
    row = read_row(folder)
    assert (row.status, row.metrics) == ("completed", before.metrics)
    assert (before.verified, row.verified) == (True, False)
    names = ("spec.yaml", "record.json", "state.json", "metrics.json")
    assert checked(store, folder) == Integrity(unverified=names)
    assert main(["show", folder.name]) == 0
    words = f"integrity: unverified: {', '.join(names)} (of an older version: they name no run)\n"
    assert words in capsys.readouterr().out


def test_show_says_where_the_curve_was_joined(
    folder: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", folder.name]) == 0
    text = capsys.readouterr().out
    assert "status: completed (attempt 2, resumed x1)\n" in text
    assert "curve joined: attempt 2 from epoch 2 (step 13)\n" in text
    assert "integrity: every file fits its checksum\n" in text
    assert main(["show", folder.name, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["resumed"] == 1
    assert shown["joints"] == [{"attempt": 2, "epoch": 2, "step": 13}]
    assert shown["integrity"] == {"faults": [], "unverified": [], "missing": [], "intact": True}


def test_show_survives_a_damaged_progress_file(
    store: Store, folder: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    folder.write_state("running")
    folder.progress_path.write_text('{"phase": "train", "eta_s": 1')
    with folder.lock():
        assert main(["show", folder.name]) == 0
    assert f"progress: {folder.progress_path} is damaged: " in capsys.readouterr().out


@pytest.mark.parametrize(
    "record", ['{"overrides": 5, "data": "x", "code": [1]}', '{"seed": true, "hardware": 3}']
)
def test_show_survives_a_strange_record(
    folder: RunFolder, record: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder.write_json(folder.record_path, json.loads(record))
    assert main(["show", folder.name]) == 0
    assert "code: installed package" in capsys.readouterr().out


@pytest.mark.parametrize("name", [HISTORY, "checkpoints/epoch_2.pth"])
@pytest.mark.parametrize("more", [-1, 0, 1])
def test_only_the_history_may_have_grown(tmp_path: Path, name: str, more: int) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"x" * (10 + more))
    if more == 0 or (more > 0 and name == HISTORY):
        check_sizes(str(tmp_path), {name: 10, "removed.pkl": 3})
        return
    with pytest.raises(AqrExpError) as caught:
        check_sizes(str(tmp_path), {name: 10})
    fault = f"{path} is damaged: {10 + more} bytes, 10 when the run completed"
    assert str(caught.value) == fault
