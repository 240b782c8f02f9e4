import json
from pathlib import Path

import pytest
import yaml

from aqr_exp import __version__
from aqr_exp.cli.main import main
from aqr_exp.config.identity import from_spec, run_name
from aqr_exp.config.load import load_run
from aqr_exp.config.schema import RunConfig
from aqr_exp.store.store import Store


def add(store: Store, seed: int, mean_ap: float | None, *, status: str = "completed") -> str:
    name = f"baseline-0123456789ab-s{seed}"
    record = {"variant": "baseline", "fingerprint": "0123456789ab", "seed": seed, "preset": "quick"}
    store.folder(name).create("", record)
    if mean_ap is not None:
        metrics = {"mAP": mean_ap, "NDS": 0.3, "split": "synth_val", "synthetic": True}
        store.folder(name).write_metrics(metrics | {"AP/car": 0.5, "gt/car": 12})
    store.folder(name).write_state(status, reason=None if mean_ap else "boom")
    return name


def test_config_prints_what_would_run(
    config: RunConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["config", "baseline"]) == 0
    text = capsys.readouterr().out
    assert text.splitlines()[0] == f"# run: {run_name(config)}"
    assert from_spec(yaml.safe_load(text)) == config


def test_config_works_without_data(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "baseline", "seed=3"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("# run: not known before its data are there: data.root=")
    assert from_spec(yaml.safe_load(text)) == load_run("baseline", ["seed=3"])
    assert main(["config", "baseline", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["run"] is None
    assert list(place.iterdir()) == []


def test_a_list_of_nothing_is_empty(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_list_shows_every_run(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    add(store, 0, 0.25)
    add(store, 1, None, status="failed")
    add(store, 2, None, status="running")
    (store.runs_dir / "junk").mkdir()
    assert main(["list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["seed"], row["status"], row["mAP"]) for row in rows] == [
        (0, "completed", 0.25),
        (1, "failed", None),
        (2, "interrupted", None),
    ]


def test_table_prints_every_format(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    add(store, 0, 0.25)
    add(store, 1, 0.26)
    failed = add(store, 2, None, status="failed")
    note = f"not in the table: {failed}: failed: boom"
    for form in ("rich", "md", "csv", "json", "latex"):
        assert main(["table", "--format", form, "--metrics", "mAP"]) == 0
        out, err = capsys.readouterr()
        assert "25.5" in out
        where = err if form == "csv" else out
        assert note.replace("_", "\\_") in where.replace("_", "\\_")


def test_the_usual_table_has_one_line_an_arm(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    add(store, 0, 0.25)
    assert main(["table"]) == 0
    assert "| baseline | 1 | 25.00 (one seed: no interval) |" in capsys.readouterr().out
    add(store, 1, 0.26)
    assert main(["table", "--format", "json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    # Two seeds a point apart: t(1) = 12.7062, half of the interval is 12.7062 * .5.
    assert (row["n"], row["mAP"], row["mAP low"], row["mAP high"]) == (2, 25.5, 19.15, 31.85)
    assert row["time / baseline"] is None
    assert main(["table", "--by", "arm", "--format", "csv", "--metrics", "NDS"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[0].split(",")[5:10] == ["n", "NDS", "NDS sd", "NDS low", "NDS high"]
    note = "training time of baseline 0123456789ab: none of its runs was timed in one go"
    assert note in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["table", "--metrics", "mAp"], "unknown metric 'mAp': did you mean 'mAP'?"),
        (["table", "--by", "class", "--metrics", "NDS"], "--metrics and --by class cannot be used"),
        (["table", "--format", "xml"], "'xml' is not one of 'rich', 'md', 'csv', 'json', 'latex'"),
        (["table", "--format", "cvs"], "'parquet': did you mean 'csv'?"),
        (["table", "--by", "metrik"], "'cost': did you mean 'metric'?"),
        (["compare", "a", "b", "--format", "jsn"], "'json': did you mean 'json'?"),
        (["plot", "curves", "--width", "colum"], "'column', 'page': did you mean 'column'?"),
        (
            ["retry", "--failed", "--slots", f"{10**9}"],
            "1000000000 is not in the range 1<=x<=1000.",
        ),
        (["cost", "x", "--samples", f"{10**9}"], "is not in the range 1<=x<=10000."),
        (["table", "--at-epoch", "9" * 5000], "write an epoch, 1 or more, or last-common"),
        (["show", "baselin-x"], "unknown run 'baselin-x'"),
        (["runn"], "No such command 'runn'"),
        (["run"], "Missing argument 'VARIANT'"),
        (["data"], "Missing command"),
        (["list", "--jsn"], "No such option"),
    ],
)
def test_a_wrong_request_is_one_line_and_exit_2(
    place: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("aqr-exp: ")
    assert err.count("\n") == 1
    assert words in err


def test_show_tells_everything_about_a_run(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    name = add(store, 0, 0.25)
    assert main(["show", "base"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"run: {name}\nstatus: completed\nfolder: {store.folder(name).path}\n")
    assert "AP/car" in text
    assert main(["show", name, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["gt/car"] == 12


def test_show_names_a_damaged_file(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    name = add(store, 0, 0.25)
    store.folder(name).metrics_path.write_text('{"mAP": 0.2')
    assert main(["show", name]) == 0
    text = capsys.readouterr().out
    assert f"status: damaged: {store.folder(name).metrics_path} is damaged: " in text


def test_show_lists_what_training_warned_of(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    name = add(store, 0, 0.25)
    assert main(["show", name]) == 0
    assert "warnings" not in capsys.readouterr().out
    near = {"kind": "warning", "epoch": 2, "step": 40, "message": "scale 4.10 is near\nits bound"}
    said = (
        {"kind": "train", "step": 40, "loss": 1.0},
        near,
        {"kind": "warning", "message": "saturated"},
        near,
        {"kind": "warning", "step": 41},
    )
    for entry in said:
        store.folder(name).append_history(entry)
    lines = [
        "epoch 2, step 40: scale 4.10 is near its bound",
        "saturated",
        "step 41: no message",
    ]
    assert main(["show", name]) == 0
    text = capsys.readouterr().out
    assert text.endswith("\n".join(["warnings while training:", *lines]) + "\n")
    assert text.index("AP/car") < text.index("warnings")
    assert main(["show", name, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["warnings"] == lines


def test_show_survives_a_damaged_history(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    name = add(store, 0, 0.25)
    store.folder(name).history_path.write_text("[1]\n")
    assert main(["show", name]) == 0
    text = capsys.readouterr().out
    assert "AP/car" in text
    assert text.endswith("history.jsonl is damaged: line 1 is no object\n")


def test_show_of_a_running_run_says_where_it_is(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    name = add(store, 0, None, status="running")
    progress = {"phase": "train", "epoch": 2, "epochs": 12, "step": 7, "steps": 90, "loss": 1.5}
    store.folder(name).write_progress(progress | {"eta_s": 187.2})
    with store.folder(name).lock():
        assert main(["show", name]) == 0
    expected = "progress: train, epoch 2/12, step 7/90, loss 1.500, 3:07 left"
    assert expected in capsys.readouterr().out


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"aqr-exp {__version__}\n"
    assert main([]) == 0
    text = capsys.readouterr().out
    assert main(["-h"]) == 0
    assert capsys.readouterr().out == text


def test_an_internal_error_is_one_line_unless_debugged(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(store: object) -> None:
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr("aqr_exp.cli.show.collect", broken)
    assert main(["list"]) == 1
    expected = "aqr-exp: internal error: ZeroDivisionError: by nothing (--debug shows where)\n"
    assert capsys.readouterr().err == expected
    with pytest.raises(ZeroDivisionError):
        main(["list", "--debug"])
