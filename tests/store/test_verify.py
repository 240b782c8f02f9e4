import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from made_up_runs import SPLIT, VERSION, DataSet, make_data_set, make_run

from aqr_exp.config.inputs import identity_path
from aqr_exp.store.run_folder import RunFolder
from aqr_exp.store.store import Store
from aqr_exp.store.verify import verify_run

score_results = pytest.importorskip("aqr_exp.evaluate.metric", exc_type=ImportError).score_results


@pytest.fixture
def data(tmp_path: Path) -> DataSet:
    return make_data_set(tmp_path / "it's a; data set")


@pytest.fixture
def folder(tmp_path: Path, data: DataSet) -> RunFolder:
    return make_run(Store(tmp_path / "results"), data, seed=3)


def problems_of(folder: RunFolder, **options: Any) -> list[str]:
    """The problems as they are shown."""
    return [str(problem) for problem in verify_run(folder, **options)]


def rewrite(folder: RunFolder, **changes: object) -> None:
    """Other metrics under a checksum that fits them: what only recomputing finds."""
    folder.write_metrics(folder.read_metrics() | changes)


def test_metrics_that_were_computed_are_verified(folder: RunFolder) -> None:
    assert problems_of(folder) == []


def test_metrics_of_the_devkit_are_verified(folder: RunFolder, data: DataSet) -> None:
    path = folder.predictions_path(SPLIT)
    rewrite(folder, evaluator="official", **score_results(path, data.root, VERSION, SPLIT))
    assert problems_of(folder) == []


def test_an_invented_number_is_named_with_what_it_should_be(folder: RunFolder) -> None:
    true = folder.read_metrics()
    rewrite(folder, mAP=true["mAP"] + 1e-8, **{"gt/car": 1, "stability/gradient_spikes": 0.5})
    problems = problems_of(folder)
    for source in ("records.npz", f"predictions/{SPLIT}.json"):
        said = f"mAP is {true['mAP'] + 1e-8} in metrics.json, {true['mAP']} from {source}"
        assert f"{folder.name}: {said}" in problems
        assert f"{folder.name}: gt/car is 1 in metrics.json, {true['gt/car']} from {source}" in (
            problems
        )
    spikes = true["stability/gradient_spikes"]
    said = f"stability/gradient_spikes is 0.5 in metrics.json, {spikes} from history.jsonl"
    assert f"{folder.name}: {said}" in problems
    assert len(problems) == 5


def test_a_history_too_short_to_judge_gives_no_number(folder: RunFolder) -> None:
    lines = folder.history_path.read_text().splitlines(keepends=True)
    folder.history_path.write_text("".join(lines[:1]))
    rewrite(folder, **{"stability/gradient_spikes": 0.5, "stability/loss_oscillation": None})
    said = "stability/gradient_spikes is 0.5 in metrics.json, None from history.jsonl"
    assert problems_of(folder) == [f"{folder.name}: {said}"]


def test_what_rounding_changes_is_no_difference(folder: RunFolder) -> None:
    rewrite(folder, mAP=folder.read_metrics()["mAP"] + 5e-10)
    assert problems_of(folder) == []


def test_a_number_that_lacks_or_is_none_is_named(folder: RunFolder) -> None:
    rewrite(folder, NDS=None, mATE="low")
    problems = problems_of(folder)
    assert any(f"{folder.name}: NDS is None in metrics.json, 0." in problem for problem in problems)
    assert any(f"{folder.name}: mATE is low in metrics.json, " in problem for problem in problems)


def test_other_detections_are_named_by_their_hash(folder: RunFolder) -> None:
    path = folder.predictions_path(SPLIT)
    path.write_bytes(path.read_bytes().replace(b"0.1", b"0.2", 1))
    fault = "is damaged: its SHA-256 is not predictions_sha256 of metrics.json"
    assert problems_of(folder) == [f"{path} {fault}"]


def test_other_detections_under_a_hash_that_fits_are_found_by_recomputing(
    folder: RunFolder, tmp_path: Path, data: DataSet
) -> None:
    other = make_run(Store(tmp_path / "others"), data, seed=4)
    path = folder.predictions_path(SPLIT)
    shutil.copyfile(other.predictions_path(SPLIT), path)
    hashed = other.read_metrics()["predictions_sha256"]
    rewrite(folder, predictions_sha256=hashed)
    problems = problems_of(folder)
    assert len(problems) > 5
    assert all(problem.endswith(f" from predictions/{SPLIT}.json") for problem in problems)


def test_damaged_records_and_checkpoints_are_named(folder: RunFolder) -> None:
    records, checkpoint = folder.records_path, folder.checkpoints_dir / "epoch_1.pth"
    for path in (records, checkpoint):
        content = path.read_bytes()
        path.write_bytes(content[:200] + bytes([content[200] ^ 4]) + content[201:])
    assert problems_of(folder) == [
        f"{checkpoint} is damaged: it is not what it was when the run completed",
        f"{records} is damaged: its SHA-256 is not records_sha256 of metrics.json",
    ]


def test_missing_files_are_named(folder: RunFolder) -> None:
    folder.records_path.unlink()
    path = folder.predictions_path(SPLIT)
    path.unlink()
    assert problems_of(folder) == [f"{folder.records_path} is missing", f"{path} is missing"]


def test_a_missing_data_set_is_said_and_another_place_can_be_named(
    folder: RunFolder, data: DataSet, tmp_path: Path
) -> None:
    moved = tmp_path / "moved"
    data.root.rename(moved)
    words = f"the data set {data.root} is missing: not recomputed from its predictions"
    assert problems_of(folder) == [f"{folder.name}: {words}"]
    assert problems_of(folder, data_root=moved) == []


def test_other_data_are_not_scored_on(folder: RunFolder, data: DataSet) -> None:
    path = identity_path(data.root)
    path.write_text(path.read_text().replace("0123456789abcdef", "f" * 16))
    words = f"the data set {data.root} is {'f' * 16}, not 0123456789abcdef"
    assert problems_of(folder) == [f"{folder.name}: {words}: not recomputed from its predictions"]
    path.write_text("{")
    assert problems_of(folder)[0].startswith(f"{folder.name}: {path} is damaged: ")


def test_a_broken_result_file_is_refused_with_the_place(folder: RunFolder) -> None:
    """A wrong score, in a file whose hash is that of the metrics."""
    path = folder.predictions_path(SPLIT)
    value = json.loads(path.read_text())
    token, boxes = next(item for item in value["results"].items() if item[1])
    boxes[0]["detection_score"] = 1.5
    path.write_text(json.dumps(value))
    metrics = folder.read_metrics()
    del metrics["predictions_sha256"]
    folder.write_metrics(metrics)
    assert problems_of(folder) == [
        f"{path}: sample {token}, box 0: detection_score=1.5 (allowed: 0 to 1)"
    ]


@pytest.mark.parametrize("name", ["metrics.json", "record.json", "spec.yaml", "history.jsonl"])
def test_a_damaged_small_file_is_one_line(folder: RunFolder, name: str) -> None:
    (folder.path / name).write_text("{\n")
    (problem,) = problems_of(folder) if name != "history.jsonl" else [""]
    if name == "history.jsonl":
        (folder.path / name).write_text("[]\n")
        (problem,) = problems_of(folder)
    assert problem.startswith(f"{folder.path / name} is damaged: ")


def test_a_run_that_does_not_say_its_split_is_named(folder: RunFolder) -> None:
    metrics = folder.read_metrics()
    del metrics["split"]
    folder.write_metrics(metrics)
    words = "it does not say which data set and split it was scored on"
    assert problems_of(folder) == [f"{folder.name}: {words}"]


def test_torch_is_not_needed(folder: RunFolder) -> None:
    program = (
        "import sys; from pathlib import Path; from aqr_exp.store.run_folder import RunFolder; "
        "from aqr_exp.store.verify import verify_run; "
        "print(verify_run(RunFolder(Path(sys.argv[1]))), 'torch' in sys.modules)"
    )
    command = [sys.executable, "-c", program, str(folder.path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "[] False\n"


def test_a_problem_of_one_metric_names_it_and_one_of_a_file_concerns_all(folder: RunFolder) -> None:
    rewrite(folder, mAP=0.5)
    folder.predictions_path(SPLIT).unlink()
    metrics = [problem.metric for problem in verify_run(folder)]
    assert metrics == ["mAP", None]
