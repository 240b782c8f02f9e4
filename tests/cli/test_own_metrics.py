"""An own metric from its file to tables, comparisons, figures and data frames, as it is typed."""

import json
import os
import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from own_metric_world import SPLIT, VERSION, OwnMetricWorld

from aqr_exp.cli.main import main
from aqr_exp.config.identity import run_name
from aqr_exp.config.load import load_run
from aqr_exp.evaluate.own_metrics import read_values, write_values
from aqr_exp.launch.preflight import metric_faults
from aqr_exp.results import compare, table
from aqr_exp.store.store import Store

EXAMPLES = Path(__file__).parents[2] / "examples" / "metrics"
ARMS = {"baseline": 1.2, "ours": 0.2}


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with the runs of two arms and the shipped metrics, none measured yet."""
    place = tmp_path_factory.mktemp("work")
    world = OwnMetricWorld.make(tmp_path_factory.mktemp("tables"))
    world.fill(Store(place / "results"), place, ARMS)
    shutil.copytree(EXAMPLES, place / "metrics")
    return place


@pytest.fixture
def place(imported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "it's here"
    shutil.copytree(imported, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delenv("AQR_EXP_PATH", raising=False)
    monkeypatch.delenv("AQR_EXP_RESULTS", raising=False)
    return folder


def answer(capsys: pytest.CaptureFixture[str], *typed: str, code: int = 0) -> Any:
    ended, said = main([*typed]), capsys.readouterr()
    assert ended == code, said.err
    return json.loads(said.out)


def refusal(capsys: pytest.CaptureFixture[str], *typed: str) -> str:
    capsys.readouterr()
    assert main([*typed]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert len(line) <= 200
    return line.removeprefix("aqr-exp: ")


def measured(capsys: pytest.CaptureFixture[str], *names: str) -> None:
    answer(capsys, "eval", *(names or ARMS), "--metric", "near_recall,ray_error", "--json")


def test_a_metric_is_computed_once_and_shown_with_n_interval_and_verdict(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = ("eval", "baseline", "ours", "--metric", "near_recall,ray_error", "--json")
    first = answer(capsys, *typed)
    assert [line["run"] for line in first] == sorted(line["run"] for line in first)
    assert len(first) == 6
    assert all(0 < line["near_recall"][""] < 1 for line in first)
    assert main([*typed]) == 0
    again = capsys.readouterr()
    assert json.loads(again.out) == first
    assert again.err == ""  # nothing was computed
    shown = answer(
        capsys, "table", "--metrics", "near_recall,ray_error,ray_error@night", "--format", "json"
    )
    rows = {row["variant"]: row for row in shown["rows"]}
    values = [line["ray_error"] for line in first]
    for name, part in (("ray_error", ""), ("ray_error@night", "night")):
        mean = sum(one[part] for one in values[:3]) / 3
        assert rows["baseline"][name] == pytest.approx(mean, abs=5e-5)
    ours = rows["ours"]
    assert ours["n"] == 3
    assert ours["ray_error low"] < ours["ray_error"] < ours["ray_error high"]
    assert ours["ray_error verdict"] == "better"  # less of it is
    assert ours["ray_error difference"] < 0
    assert ours["ray_error on other scenes"] == "yes"
    assert ours["near_recall verdict"] in {"better", "undecided"}
    assert not any("missing" in note for note in shown["notes"])
    by = answer(
        capsys, "table", "--by", "condition", "--metrics", "near_recall", "--format", "json"
    )
    night = {(row["condition"], row["variant"]): row for row in by["rows"]}["night", "ours"]
    assert night["mean"] == pytest.approx(
        sum(line["near_recall"]["night"] for line in first[3:]) / 3, abs=5e-5
    )
    # The best first: of an error the smallest.
    best = answer(
        capsys, "table", "--metrics", "ray_error", "--sort", "ray_error", "--format", "json"
    )
    assert [row["variant"] for row in best["rows"]] == ["ours", "baseline"]
    best = answer(
        capsys, "table", "--metrics", "near_recall", "--sort", "near_recall", "--format", "json"
    )
    assert [row["variant"] for row in best["rows"]] == ["ours", "baseline"]


def test_comparisons_figures_and_frames_take_it(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measured(capsys)
    shown = answer(
        capsys, "compare", "baseline", "ours", "--metrics", "ray_error", "--by", "metric,condition",
        "--format", "json",
    )  # fmt: skip
    (line,) = shown["metrics"]["rows"]
    assert (line["metric"], line["verdict"], line["n A"]) == ("ray_error", "better", 3)
    names = [row["metric"] for row in shown["conditions"]["rows"]]
    assert "ray_error@night" in names
    frame = compare("baseline", "ours", metrics=["ray_error"], by=["metric"])
    assert frame["verdict"].tolist() == ["better"]
    assert frame["difference"][0] == pytest.approx(line["difference"], abs=5e-5)
    assert table(metrics=["ray_error"])["ray_error verdict"].tolist()[-1] == "better"
    assert main(["plot", "sweep", "variant", "--metric", "ray_error", "--output", "drawn"]) == 0
    assert (place / "drawn.pdf").stat().st_size > 1000
    said = refusal(capsys, "plot", "curves", "--metric", "ray_error")
    assert said.startswith("no run to draw has a training history") or "after training" in said


def test_runs_that_lack_it_are_named_in_one_note(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    remedy = "`aqr-exp eval RUN... --metric near_recall` computes it"
    said = refusal(capsys, "table", "--metrics", "near_recall")
    assert said == f"no run here has near_recall yet: {remedy}"
    assert "did you mean 'near_recall'?" in refusal(capsys, "table", "--metrics", "near_recal")
    measured(capsys, "ours", "baseline-")
    runs = sorted(path.name for path in (place / "results" / "runs").iterdir())
    files = [place / "results" / "runs" / run / "own_metrics" / "near_recall.npz" for run in runs]
    files[3].unlink()
    files[4].write_bytes(files[4].read_bytes()[:-1])
    shutil.copyfile(files[1], files[5])
    shown = answer(capsys, "table", "--metrics", "near_recall", "--format", "json")
    notes = [note for note in shown["notes"] if "is missing in" in note]
    assert notes == [
        (
            f"near_recall is missing in {runs[3]}, {runs[4]}, {runs[5]} "
            f"(1 not computed, 1 damaged, 1 of other detections): {remedy}"
        )
    ]
    assert shown["rows"][1]["near_recall"] is None
    measured(capsys)
    shown = answer(capsys, "table", "--metrics", "near_recall", "--format", "json")
    assert not [note for note in shown["notes"] if "is missing in" in note]


def test_a_changed_metric_is_never_mixed_with_old_values(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measured(capsys)
    before = answer(capsys, "table", "--metrics", "near_recall", "--format", "json")["rows"]
    path = place / "metrics" / "near_recall.py"
    text = path.read_text()
    path.write_text("# The same.\n" + text)
    assert answer(capsys, "table", "--metrics", "near_recall", "--format", "json")["rows"] == before
    path.write_text(text.replace("20.0", "10.0"))
    remedy = "`aqr-exp eval RUN... --metric near_recall` computes it"
    said = refusal(capsys, "table", "--metrics", "near_recall")
    assert said == f"no run here has near_recall yet: {remedy}"
    assert main(["eval", "ours", "--metric", "near_recall"]) == 0
    capsys.readouterr()
    shown = answer(capsys, "table", "--metrics", "near_recall", "--format", "json")
    assert [row["near_recall"] is None for row in shown["rows"]] == [True, False]
    assert shown["rows"][1]["near_recall"] != before[1]["near_recall"]
    (note,) = (note for note in shown["notes"] if "is missing in" in note)
    assert "(3 its file has changed since)" in note
    # Without the file values of both editions are there, and none says which is meant.
    path.unlink()
    said = refusal(capsys, "table", "--metrics", "near_recall")
    assert said.startswith("near_recall: its file is not at hand, and baseline-")


def test_a_colleagues_values_are_shown_without_the_file(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measured(capsys)
    typed = ("table", "--metrics", "ray_error", "--format", "json")
    before = answer(capsys, *typed)
    shutil.rmtree(place / "metrics")
    shutil.rmtree(Store(place / "results").cache_dir)
    shown = answer(capsys, *typed)
    assert shown["rows"] == before["rows"]  # the verdict knows that less is better
    note = "ray_error: its file is not at hand: values as they are stored"
    assert note in shown["notes"]
    assert note not in before["notes"]


def test_code_in_a_results_folder_is_never_imported(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    planted = place / "results" / "metrics"
    shutil.copytree(place / "metrics", planted)
    (planted / "mine.py").write_text("import pathlib\npathlib.Path('run').touch()\n")
    os.chdir(place / "results")
    try:
        for results in ("", str(place / "results")):
            os.environ["AQR_EXP_RESULTS"] = results or "."
            said = refusal(capsys, "eval", "ours", "--metric", "mine")
            assert said == "no own metric 'mine': no file metrics/NAME.py (there: none)"
    finally:
        del os.environ["AQR_EXP_RESULTS"]
        os.chdir(place)
    assert not (place / "results" / "run").exists()


BAD = """\"\"\"It.\"\"\"
better = "more"


def measure(sample):
    return len(sample.truths) / 0, 1
"""


def test_what_cannot_be_measured_is_refused_in_one_line_and_keeps_nothing(
    place: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (place / "metrics" / "bad.py").write_text(BAD)
    runs = sorted((place / "results" / "runs").iterdir())
    assert main(["eval", "ours", "--metric", "bad"]) == 2
    said = capsys.readouterr().err.splitlines()
    where = "metrics/bad.py:6: ZeroDivisionError: division by zero (sample sample00000"
    assert said[-1].startswith(f"aqr-exp: {where}")
    assert not any((run / "own_metrics").exists() for run in runs)
    said = refusal(capsys, "eval", "ours", "--metric", "near_recal")
    assert said.startswith("no own metric 'near_recal': no file metrics/NAME.py: did you mean")
    assert refusal(capsys, "eval", "ours").startswith("type either --failures CASES or --metric")
    assert "begins with 'theirs'" in refusal(capsys, "eval", "theirs", "--metric", "near_recall")
    (place / "metrics" / "samples.py").write_text(BAD.replace(" / 0", ""))
    assert "samples is what metrics.json has already" in " ".join(
        [refusal_of_last(capsys, "eval", "ours", "--metric", "samples")]
    )
    (runs[3] / "own_metrics").symlink_to(tmp_path)
    assert main(["eval", runs[3].name, "--metric", "near_recall"]) == 1
    assert "it is a symbolic link, not a folder" in capsys.readouterr().err
    assert not [*tmp_path.glob("*.npz")]
    predictions = runs[4] / "predictions" / f"{SPLIT}.json"
    predictions.write_text(predictions.read_text().replace("1.5", "1.6", 1))
    assert main(["eval", runs[4].name, "--metric", "near_recall"]) == 1
    assert "its SHA-256 is not predictions_sha256" in capsys.readouterr().err


def refusal_of_last(capsys: pytest.CaptureFixture[str], *typed: str) -> str:
    capsys.readouterr()
    assert main([*typed]) == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_result_files_are_compared_by_it(
    place: Path, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    world = OwnMetricWorld.make(tmp_path_factory.mktemp("own tables"))
    for name, noise in ARMS.items():
        (place / f"{name}.json").write_text(json.dumps(world.results(1, noise)))
    shown = answer(
        capsys, "compare", "baseline.json", "ours.json", "--root", str(world.root), "--version", VERSION,
        "--split", SPLIT, "--metrics", "ray_error", "--by", "metric", "--format", "json",
    )  # fmt: skip
    (line,) = shown["metrics"]["rows"]
    assert line["metric"] == "ray_error"
    assert line["difference"] < -0.1


PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"


def test_every_command_of_the_page_does_what_it_says(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = PAGE.read_text()
    assert f"```python\n{(EXAMPLES / 'near_recall.py').read_text()}```" in page
    commands = re.findall(r"^\$ aqr-exp (.*)$", page, re.MULTILINE)
    assert len(commands) == 6
    for command in commands:
        assert main(shlex.split(command)) == 0, capsys.readouterr().err
        assert "near_recall" in capsys.readouterr().out


def test_a_new_run_asks_for_metrics_that_are_there_and_keeps_its_name(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, asked = (load_run("baseline", typed) for typed in ([], ["metrics=[near_recall]"]))
    assert asked.metrics == ("near_recall",)
    assert run_name(plain) == run_name(asked)
    assert [*metric_faults(asked, place / "results")] == []
    (fault,) = metric_faults(load_run("baseline", ["metrics=[near_recal]"]), place / "results")
    assert str(fault).startswith(
        "no own metric 'near_recal': no file metrics/NAME.py: did you mean"
    )


def test_verify_computes_own_metrics_again_and_trace_names_their_files(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measured(capsys)
    typed = ("table", "--metrics", "near_recall", "--verify")
    assert main([*typed]) == 0
    assert "2 measured cells recomputed from 6 runs: all hold" in capsys.readouterr().out
    traced = answer(capsys, "table", "--metrics", "near_recall", "--trace", "--format", "json")
    files = [file["path"] for file in next(iter(traced["trace"]["runs"].values()))["files"]]
    assert "own_metrics/near_recall.npz" in files
    run = min((place / "results" / "runs").iterdir())
    path = run / "own_metrics" / "near_recall.npz"
    facts, values = read_values(path)
    write_values(path, values, msgspec.structs.replace(facts, values={**facts.values, "": 0.875}))
    assert main([*typed]) == 1
    said = capsys.readouterr().out
    assert f"{run.name}: near_recall is 0.875, {facts.values['']} when recomputed" in said
    (place / "metrics" / "near_recall.py").unlink()
    assert main([*typed]) == 1
    assert "near_recall is not recomputed: no own metric 'near_recall'" in capsys.readouterr().out
    said = refusal(capsys, "table", "--by", "failure", "--metrics", "ray_error")
    assert said == "--by failure has no ray_error: it is measured on clean data alone"
