"""`aqr-exp import`: result files of other detectors as runs, and what is refused."""

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up_tables import MadeUpBox, MadeUpScene, sample_token, write_version
from small_world import detection, perturbed, small_world

from aqr_exp.cli.main import main
from aqr_exp.evaluate.metric import score_results
from aqr_exp.launch import importing

VERSION, SPLIT, TRUCK_M = "v1.0-small", "small_val", (2.5, 7.0, 3.0)
SCENES, KEYFRAMES = 12, 5


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Raw tables, not prepared, of three scenes."""
    folder = tmp_path_factory.mktemp("tables")
    scenes, boxes = small_world()
    names = [scene.name for scene in scenes]
    write_version(folder, VERSION, scenes, boxes, {"small_train": names[:1], SPLIT: names})
    return folder


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AQR_EXP_RESULTS", str(tmp_path / "results"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def results_of(seed: int, noise: float = 0.6) -> dict[str, Any]:
    return {"meta": {}, "results": perturbed(small_world()[1], range(15), seed, noise)}


def write(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def runs(place: Path) -> list[str]:
    folder = place / "results" / "runs"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def imported(root: Path, *typed: str) -> int:
    return main(["import", *typed, "--root", str(root)])


def test_an_imported_run_has_the_devkits_numbers(
    place: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(place / "their's.json", results_of(0))
    assert imported(root, file.name, "--set", "bias_scale=2.5", "--json") == 0
    (line,) = json.loads(capsys.readouterr().out)
    expected = score_results(file, root, VERSION, SPLIT)
    assert expected["mAP"] > 0.01
    assert line["mAP"] == pytest.approx(expected["mAP"], abs=1e-12)
    assert main(["show", line["run"], "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["record"]["variant"] == "their_s"
    assert shown["record"]["overrides"] == ["bias_scale=2.5"]
    assert shown["record"]["imported"]["file"] == str(file)
    for name, value in expected.items():
        assert shown["metrics"][name] == pytest.approx(value, abs=1e-9), name
    assert main(["show", line["run"]]) == 0
    text = capsys.readouterr().out
    assert f"imported: {file} (sha256 " in text
    assert "how it was trained is not known" in text
    assert "integrity: every file fits its checksum" in text
    assert main(["table", "--verify"]) == 0
    assert "recomputed from 1 runs: all hold" in capsys.readouterr().out
    assert main(["table", "--format", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [row["variant"] for row in told["rows"]] == ["their_s"]
    arm = line["run"].removesuffix("-s0")
    assert f"imported: {arm}: how they were trained is not known" in told["notes"]


def test_files_are_seeds_of_one_arm_and_each_is_imported_once(
    place: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [write(place / f"{seed}.json", results_of(seed)).name for seed in range(3)]
    assert imported(root, *files, "--variant", "theirs") == 0
    first = runs(place)
    assert [name.rpartition("-")[2] for name in first] == ["s0", "s1", "s2"]
    capsys.readouterr()
    assert imported(root, files[1], "--variant", "theirs") == 0
    assert capsys.readouterr().out.endswith(" (imported already)\n")
    assert runs(place) == first
    write(place / "new.json", results_of(9))
    assert imported(root, "new.json", "--variant", "theirs", "--seed", "1") == 2
    fault = capsys.readouterr().err.splitlines()[-1]
    assert fault == f"aqr-exp: --seed=1: {first[0][:-3]} has another file with this seed"
    assert imported(root, "new.json", "--variant", "theirs") == 0
    assert runs(place) == [*first, first[0].replace("-s0", "-s3")]


def test_a_zip_and_a_work_folder_hold_the_same_file(place: Path, root: Path) -> None:
    file = write(place / "file.json", results_of(0))
    with zipfile.ZipFile(place / "packed.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.write(file, "submission/results_nusc.json")
    work = place / "work" / "pts_bbox"
    work.mkdir(parents=True)
    (work / "results_nusc.json").write_bytes(file.read_bytes())
    for path in ("file.json", "packed.zip", "work"):
        assert imported(root, path, "--variant", "one") == 0
    (run,) = runs(place)
    stored = place / "results" / "runs" / run / "predictions" / f"{SPLIT}.json"
    assert stored.read_bytes() == file.read_bytes()


def changed(change: Callable[[dict[str, Any]], object]) -> str:
    content = results_of(0)
    change(content)
    return json.dumps(content)


def with_box(**values: Any) -> str:
    box = detection(2, "car", (500.0, 900.0, 1.0), 0.5, **values)
    return changed(lambda content: content["results"][sample_token(2)].insert(0, box))


def without_field(name: str) -> str:
    def change(content: dict[str, Any]) -> None:
        del content["results"][sample_token(2)][0][name]

    return changed(change)


TOO_MANY = [detection(2, "car", (500.0, 900.0, 1.0), 0.5)] * 501
MALFORMED: dict[str, tuple[str, str]] = {
    "empty": ("", "is no result file"),
    "a web page": ("<!DOCTYPE html><p>404", "is no result file"),
    "a pointer": ("version https://git-lfs.github.com/spec/v1\n", "is no result file"),
    "cut": (json.dumps(results_of(0))[:-50], "is no result file"),
    "a list": ("[]", "is no result file"),
    "nested": ("[" * 100_000, "is no result file"),
    "without meta": ('{"results": {}}', "meta"),
    "without results": ('{"meta": {}}', "results"),
    "results in a list": ('{"meta": {}, "results": []}', "results"),
    "a sample missing": (
        changed(lambda content: content["results"].pop(sample_token(7))),
        f"sample {sample_token(7)} is missing",
    ),
    "a sample of another split": (
        changed(lambda content: content["results"].update({"other": []})),
        "sample other is not of the split small_val",
    ),
    "too many boxes": (
        changed(lambda content: content["results"].update({sample_token(2): TOO_MANY})),
        "501 boxes",
    ),
    "another sample's box": (with_box(sample_token=sample_token(3)), "its sample_token is"),
    "an unknown class": (with_box(detection_name="tram"), "detection_name"),
    "an unknown attribute": (with_box(attribute_name="vehicle.flying"), "attribute_name"),
    "a tracker's": (without_field("detection_name"), "detection_name"),
    "no score": (without_field("detection_score"), "detection_score"),
    "a text as score": (with_box(detection_score="high"), "detection_score"),
    "a place that is no number": (with_box(translation=[float("nan"), 0, 0]), "translation"),
    "two coordinates": (with_box(translation=[1.0, 2.0]), "translation"),
    "an infinite size": (with_box(size=[float("inf"), 1, 1]), "size"),
    "a rotation that is no number": (with_box(rotation=[float("nan"), 0, 0, 0]), "rotation"),
}


@pytest.mark.parametrize("kind", MALFORMED)
def test_a_malformed_file_is_refused_in_one_line_with_its_place(
    place: Path, root: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    content, words = MALFORMED[kind]
    write(place / "bad.json", content)
    assert imported(root, "bad.json") == 2
    told = capsys.readouterr()
    (fault,) = [line for line in told.err.splitlines() if line.startswith("aqr-exp: ")]
    assert "bad.json" in fault
    assert words in fault
    assert len(fault) <= 200
    assert told.out == ""
    assert runs(place) == []


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["absent.json"], "absent.json"),
        (["folder"], "must hold one results_nusc.json, and holds none"),
        (["good.zip"], "must hold one .json file, and holds 2 of them: a.json, b.json: name one"),
        (["bad.zip"], "bad.zip cannot be unpacked: File is not a zip file"),
        (["torn.zip"], "torn.zip cannot be unpacked: "),
        (["pipe"], "pipe"),
        (["good.json", "--variant", "a/b"], "--variant='a/b': is no name"),
        (["good.json", "--set", "scale"], "--set=scale: must be KEY=VALUE"),
        (["good.json", "--set", "a=1", "--set", "a=2"], "--set=a=2: a is set to 1 already"),
        (["good.json", "--split", "small_vl"], "did you mean 'small_val'?"),
        (["good.json", "--version", "v1.0-smal"], "did you mean 'v1.0-small'?"),
    ],
)
def test_a_wrong_request_is_one_line_and_leaves_nothing(
    place: Path, root: Path, capsys: pytest.CaptureFixture[str], typed: list[str], said: str
) -> None:
    write(place / "good.json", results_of(0))
    (place / "folder").mkdir()
    (place / "bad.zip").write_bytes(b"PK")
    os.mkfifo(place / "pipe")
    with zipfile.ZipFile(place / "torn.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.write(place / "good.json", "a.json")
    content = bytearray((place / "torn.zip").read_bytes())
    content[60:1060] = bytes(1000)
    (place / "torn.zip").write_bytes(content)
    with zipfile.ZipFile(place / "good.zip", "w") as packed:
        packed.writestr("a.json", "{}")
        packed.writestr("b.json", "{}")
    assert imported(root, *typed) == 2
    told = capsys.readouterr()
    (fault,) = [line for line in told.err.splitlines() if line.startswith("aqr-exp: ")]
    assert said in fault
    assert len(fault) <= 200
    assert runs(place) == []


def test_what_cannot_be_written_whole_leaves_nothing(
    place: Path,
    root: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "records.npz")

    write(place / "good.json", results_of(0))
    monkeypatch.setattr(importing, "write_records", full)
    assert imported(root, "good.json") == 2
    assert (
        capsys.readouterr().err.splitlines()[-1].startswith("aqr-exp: records.npz: no space left")
    )
    assert runs(place) == []


def street() -> tuple[list[MadeUpScene], list[MadeUpBox]]:
    """Trucks beside the road of twelve scenes, four in each keyframe."""
    scenes = [
        MadeUpScene(
            name=f"s{number}", description="", ego=[(3.0 * k, 0.0) for k in range(KEYFRAMES)]
        )
        for number in range(SCENES)
    ]
    boxes = [
        MadeUpBox(
            sample=sample,
            category="vehicle.truck",
            centre=(3.0 * (sample % KEYFRAMES) + 9.0 * place - 15.0, 8.0, 1.5),
            size=TRUCK_M,
        )
        for sample in range(SCENES * KEYFRAMES)
        for place in range(4)
    ]
    return scenes, boxes


def found_of(share: float, seed: int) -> dict[str, Any]:
    """Each truck is found with a chance, between false detections of all scores."""
    rng = np.random.default_rng(seed)
    results: dict[str, list[dict[str, Any]]] = {
        sample_token(sample): [] for sample in range(SCENES * KEYFRAMES)
    }
    for box in street()[1]:
        x, _, z = box.centre
        y = box.centre[1] if rng.random() < share else -20.0
        results[sample_token(box.sample)].append(
            detection(box.sample, "truck", (x, y, z), rng.random(), size=TRUCK_M)
        )
    return {"meta": {}, "results": results}


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("road")
    scenes, boxes = street()
    splits = {"road_train": ["s0"], "road_val": [scene.name for scene in scenes]}
    write_version(folder, VERSION, scenes, boxes, splits)
    return folder


def test_a_known_difference_gets_its_verdict(
    place: Path, road: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for variant, share in (("baseline", 0.5), ("ours", 0.9), ("same", 0.5)):
        files = [
            write(
                place / f"{variant}{seed}.json",
                found_of(share, seed + int(1000 * share) + len(variant)),
            )
            for seed in range(4)
        ]
        assert imported(road, *map(str, files), "--variant", variant) == 0
    capsys.readouterr()
    assert main(["table", "--metrics", "mAP", "--format", "json"]) == 0
    rows = {row["variant"]: row for row in json.loads(capsys.readouterr().out)["rows"]}
    verdicts = {name: row["mAP verdict"] for name, row in rows.items()}
    assert verdicts["ours"] == "better"
    assert verdicts["same"] != "better"


def test_two_files_are_compared_and_not_kept(
    place: Path, road: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(place / "a.json", found_of(0.5, 0))
    write(place / "b.json", found_of(0.9, 1))
    typed = ["compare", "a.json", "b.json", "--root", str(road), "--by", "metric"]
    assert main([*typed, "--resamples", "100", "--format", "json"]) == 0
    told = capsys.readouterr().out
    assert '"mAP"' in told
    assert runs(place) == []
    assert main(["compare", "a.json", "b.json", "--split", "road_val"]) == 2
    said = "aqr-exp: --version and --split are of result files: name --root too\n"
    assert capsys.readouterr().err == said
    assert main(["compare", "a.json", "b.json"]) == 2
    said = "aqr-exp: 'a.json' is a result file: name its data with --root\n"
    assert capsys.readouterr().err == said


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["eval", "theirs", "--failures", "dark"], "an imported run has no weights"),
        (["cost", "theirs"], "no checkpoint to measure"),
        (["confirm", "theirs"], "theirs"),
    ],
)
def test_what_needs_a_training_is_refused(
    place: Path, root: Path, capsys: pytest.CaptureFixture[str], typed: list[str], said: str
) -> None:
    write(place / "theirs.json", results_of(0))
    assert imported(root, "theirs.json") == 0
    capsys.readouterr()
    assert main(typed) == 2
    fault = capsys.readouterr().err
    assert said in fault
    assert fault.count("\n") == 1
