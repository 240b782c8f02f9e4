"""Finished runs to look at: those of docs/results.md, without torch."""

import json
from pathlib import Path

import pytest

from aqr_exp.cli.main import main


def test_the_demo_is_the_measured_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert main(["demo"]) == 0
        out = capsys.readouterr().out
        assert out.startswith(f"9 runs are in {tmp_path}/demo. Look at them:\n")
        assert "  export AQR_EXP_RESULTS=demo\n" in out
    monkeypatch.setenv("AQR_EXP_RESULTS", "demo")
    assert main(["table", "--sweep", "variants", "--format", "json", "--metrics", "mAP"]) == 0
    found = json.loads(capsys.readouterr().out)
    means = {row["variant"]: (row["n"], row["mAP"], row["mAP sd"]) for row in found["rows"]}
    # As docs/results.md has them.
    assert means == {
        "baseline": (3, 31.11, 1.54),
        "attention_bias": (3, 32.81, 1.28),
        "renderer_modulator": (3, 32.32, 1.66),
    }
    assert found["synthetic"] is True
