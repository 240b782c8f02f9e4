import json
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from aqr_exp.cli.data import settings_path
from aqr_exp.cli.main import main
from aqr_exp.config.data_identity import identity_path
from aqr_exp.data.synth.settings import SynthSettings


@pytest.fixture
def generated(monkeypatch: pytest.MonkeyPatch) -> list[SynthSettings]:
    """A generator that writes the identity only; the real one has its own tests."""
    calls: list[SynthSettings] = []

    def generate_dataset(
        root: Path, settings: SynthSettings, *, workers: int, progress: Callable[[int, int], None]
    ) -> None:
        assert workers >= 1
        calls.append(settings)
        root.mkdir()
        (root / "half").write_text("of it")
        if settings.seed == 666:
            raise OSError(28, "No space left on device", str(root / "half"))
        progress(1, 1)
        identity_path(root).parent.mkdir()
        identity_path(root).write_text(json.dumps({"seed": settings.seed}))

    module = types.ModuleType("aqr_exp.data.synth.generate")
    vars(module)["generate_dataset"] = generate_dataset
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return calls


def test_makes_the_data_once(
    place: Path, generated: list[SynthSettings], capsys: pytest.CaptureFixture[str]
) -> None:
    root = place / "data" / "synth"
    assert main(["data", "synth", "--train-scenes", "3"]) == 0
    assert capsys.readouterr().err.endswith(f"{root}: the synthetic data set is made\n")
    assert generated == [SynthSettings(train_scenes=3)]
    assert [item.name for item in root.parent.iterdir()] == ["synth"]
    assert main(["data", "synth", "--train-scenes", "3"]) == 0
    assert capsys.readouterr().err == f"{root}: the synthetic data set is there already\n"
    assert len(generated) == 1


def test_other_settings_need_force(
    place: Path, generated: list[SynthSettings], capsys: pytest.CaptureFixture[str]
) -> None:
    root = place / "data" / "synth"
    assert main(["data", "synth"]) == 0
    capsys.readouterr()
    assert main(["data", "synth", "--seed", "7"]) == 2
    expected = f"aqr-exp: {root} was made from other settings: --force replaces it\n"
    assert capsys.readouterr().err == expected
    assert main(["data", "synth", "--seed", "7", "--force"]) == 0
    assert json.loads(settings_path(root).read_text()) == SynthSettings(seed=7).as_dict()
    assert [item.name for item in root.parent.iterdir()] == ["synth"]


def test_a_failure_leaves_the_old_data_and_nothing_else(
    place: Path, generated: list[SynthSettings], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "synth"]) == 0
    capsys.readouterr()
    assert main(["data", "synth", "--seed", "666", "--force"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("aqr-exp: ")
    assert err.endswith("No space left on device\n")
    assert [item.name for item in (place / "data").iterdir()] == ["synth"]
    assert main(["data", "synth"]) == 0


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_somebody_elses_folder_is_never_replaced(
    place: Path,
    generated: list[SynthSettings],
    capsys: pytest.CaptureFixture[str],
    force: list[str],
) -> None:
    other = place / "home"
    other.mkdir()
    (other / "thesis.tex").write_text("years of work")
    assert main(["data", "synth", "--root", str(other), *force]) == 2
    expected = f"aqr-exp: {other} holds something else: choose another folder with --root\n"
    assert capsys.readouterr().err == expected
    assert (other / "thesis.tex").read_text() == "years of work"
    assert generated == []


def test_settings_out_of_range_are_one_line(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "synth", "--keyframes", "81"]) == 2
    expected = "aqr-exp: synthetic data: keyframes=81 (allowed: 1 to 80)\n"
    assert capsys.readouterr().err == expected
    assert list(place.iterdir()) == []
