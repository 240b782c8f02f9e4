"""A sweep of stubs from the command line to its table and its best point, and again to nothing."""

import json
import sys
from pathlib import Path

import pytest
from made_up_data import write_identity
from stub_trial import read_trial_audit

from aqr_exp.cli.main import main


def test_a_sweep_ends_with_its_table_and_its_best_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_identity(tmp_path / "data" / "synth")
    stub = Path(__file__).with_name("stub_trial.py")
    monkeypatch.setenv("AQR_EXP_TRAIN_COMMAND", json.dumps([sys.executable, str(stub)]))
    monkeypatch.setenv("STUB_AUDIT", str(tmp_path / "audit.jsonl"))
    monkeypatch.delenv("AQR_EXP_DATA", raising=False)
    monkeypatch.delenv("AQR_EXP_RESULTS", raising=False)
    assert main(["sweep", "smoke", "--slots", "2"]) == 0
    out, err = capsys.readouterr()
    assert "bias_scale=2.5" in out
    assert "SYNTHETIC" in out
    # By the stub: .4 - .1 ln(2.5 / 2) + .0005, the mean of seeds 0 and 1.
    assert (
        "smoke: best of 2 points by mAP: attention_bias bias_scale=2.5: 0.3782, mean of 2 seeds "
        "(baseline 0.3005)\nselected on synth_val (synthetic), the data it is reported on"
    ) in err
    figures = [tmp_path / "results" / "sweeps" / "smoke" / f"mAP.{form}" for form in ("pdf", "png")]
    assert f"smoke: drawn in {figures[0]} and {figures[1]}\n" in err
    assert figures[0].read_bytes()[:5] == b"%PDF-"
    assert figures[1].read_bytes()[:4] == b"\x89PNG"
    begun = read_trial_audit(tmp_path / "audit.jsonl")
    assert main(["sweep", "smoke"]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert "nothing is left to do" in err
    assert read_trial_audit(tmp_path / "audit.jsonl") == begun
