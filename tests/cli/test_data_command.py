import json
from pathlib import Path

import pytest

from aqr_exp.cli.main import main
from aqr_exp.config.inputs import read_data_identity, with_data_identity
from aqr_exp.config.load import load_run

SMALL = ["--train-scenes", "1", "--val-scenes", "1", "--keyframes", "1", "--workers", "1"]


def test_makes_the_data_once_and_replaces_them_only_when_told(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = place / "data" / "synth"
    assert main(["data", "synth", *SMALL]) == 0
    expected = f"2 of 2 scenes\n{root}: the synthetic data set is made\n"
    assert capsys.readouterr().err == expected
    first = read_data_identity(root)
    assert first["splits"] == {"synth_train": 1, "synth_val": 1}
    config = with_data_identity(load_run("baseline", ["schedule.batch_size=1"]))
    assert config.data.fingerprint == first["fingerprint"]
    assert [item.name for item in root.parent.iterdir()] == ["synth"]

    made = root.stat().st_ino
    assert main(["data", "synth", *SMALL]) == 0
    assert capsys.readouterr().err == f"{root}: the synthetic data set is there already\n"
    assert main(["data", "synth", *SMALL, "--seed", "7"]) == 2
    expected = f"aqr-exp: {root} was made from other settings: --force replaces it\n"
    assert capsys.readouterr().err == expected
    assert root.stat().st_ino == made

    assert main(["data", "synth", *SMALL, "--seed", "7", "--force"]) == 0
    assert read_data_identity(root)["fingerprint"] != first["fingerprint"]
    assert json.loads((root / "synth_settings.json").read_text())["seed"] == 7
    assert [item.name for item in root.parent.iterdir()] == ["synth"]


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_somebody_elses_folder_is_never_replaced(
    place: Path, capsys: pytest.CaptureFixture[str], force: list[str]
) -> None:
    other = place / "home"
    other.mkdir()
    (other / "thesis.tex").write_text("years of work")
    assert main(["data", "synth", "--root", str(other), *force]) == 2
    expected = f"aqr-exp: {other} holds something else: choose another folder with --root\n"
    assert capsys.readouterr().err == expected
    assert (other / "thesis.tex").read_text() == "years of work"
    assert main(["data", "synth", "--root", str(other / "thesis.tex"), *force]) == 2
    assert capsys.readouterr().err.endswith("is not a folder: choose another one with --root\n")


def test_settings_out_of_range_are_one_line(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "synth", "--keyframes", "81"]) == 2
    expected = "aqr-exp: synthetic data: keyframes=81 (allowed: 1 to 80)\n"
    assert capsys.readouterr().err == expected
    assert list(place.iterdir()) == []
