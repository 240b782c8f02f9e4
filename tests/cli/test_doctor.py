import json
import shutil
from collections import namedtuple
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from aqr_exp.cli.main import main
from aqr_exp.launch import preflight


def test_says_what_is_there(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["doctor", "--json"])
    findings = json.loads(capsys.readouterr().out)
    assert code == (0 if findings["can_train"] else 1)
    packages = {item["name"]: item for item in findings["packages"]}
    assert packages["numpy"]["installed"]
    assert packages["torch"]["needed_for_training"]
    assert not packages["spconv"]["needed_for_training"]
    assert findings["data"][0]["root"] == str(data)
    assert main(["doctor"]) == code
    text = capsys.readouterr().out
    assert f"  {data}: v1.0-synth (synthetic), samples: synth_train 10, synth_val 4" in text
    assert "ready to train" in text


def test_missing_packages_are_named_with_the_remedy(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    absent = preflight.Requirement(
        distribution="aqr-absent",
        module="aqr_absent",
        training=True,
        purpose="testing",
        remedy="make setup",
    )
    monkeypatch.setattr("aqr_exp.cli.doctor.REQUIREMENTS", (absent,))
    assert main(["doctor"]) == 1
    text = capsys.readouterr().out
    assert "  aqr-absent: MISSING, for testing: make setup\n" in text
    assert text.endswith("NOT ready to train: see above\n")
    assert "data sets: none (`aqr-exp data synth`)" in text


@pytest.mark.parametrize(
    ("distribution", "extension", "note"),
    [
        ("mmcv-lite", None, "mmcv-lite: its compiled operators are absent, none is called"),
        ("mmcv", "_ext.cpython-311-x86_64-linux-gnu.so", "with compiled operators"),
        ("mmcv", None, "mmcv: its compiled operators are absent, none is called"),
    ],
)
def test_either_mmcv_will_do_and_is_named(
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    distribution: str,
    extension: str | None,
    note: str,
) -> None:
    if extension is not None:
        (place / extension).touch()
    spec = ModuleSpec("mmcv", None, is_package=True)
    spec.submodule_search_locations = [str(place)]
    monkeypatch.setattr("importlib.util.find_spec", lambda _: spec)
    versions = {distribution: "2.1.0"}
    monkeypatch.setattr(preflight, "distribution_version", versions.get)
    main(["doctor"])
    assert f"  mmcv: 2.1.0 ({note})\n" in capsys.readouterr().out
    # Runs with either are recorded, and compared, as of one mmcv.
    assert preflight.installed_versions() == {"mmcv": "2.1.0"}


def test_a_full_disk_is_not_ready(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1, 1, 1_000_000))
    assert main(["doctor"]) == 1
    assert "(1 MB free)" in capsys.readouterr().out


def test_damaged_data_are_named(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / "aqr_infos" / "fingerprint.json").write_text("{")
    main(["doctor"])
    assert "fingerprint.json is damaged: Input data was truncated" in capsys.readouterr().out
