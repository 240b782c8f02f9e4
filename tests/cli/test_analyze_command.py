import csv
import io
import json
import math
import re
from pathlib import Path

import pytest

from aqr_exp.cli.main import main

EXAMPLE = ["analyze", "softmax", "--weights", "0,0.8,-0.6,0.3", "--scales", "1,2.5,5,10,20"]
KEYS = ("p1 (w=0)", "p2 (w=0.8)", "p3 (w=-0.6)", "p4 (w=0.3)")


def test_the_numbers_are_the_definitions(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*EXAMPLE, "--format", "json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert list(shown) == ["responses", "saturation", "mass"]
    verdicts = []
    for row in shown["responses"]["rows"]:
        powers = [math.exp(row["scale"] * weight) for weight in (0, 0.8, -0.6, 0.3)]
        expected = [power / sum(powers) for power in powers]
        assert [row[name] for name in KEYS] == pytest.approx(expected, abs=5e-7)
        assert sum(row[name] for name in KEYS) == pytest.approx(1.0, abs=2e-6)
        entropy = -sum(p * math.log(p) for p in expected)
        assert row["entropy (nats)"] == pytest.approx(entropy, abs=5e-5)
        assert row["maximum"] == pytest.approx(max(expected), abs=5e-7)
        verdicts.append(row["verdict"])
    assert verdicts == ["responsive", "responsive", "edge", "saturated", "saturated"]


def test_all_formats_show_the_same_digits(capsys: pytest.CaptureFixture[str]) -> None:
    shown = {}
    for form in ("rich", "md", "csv", "json", "latex"):
        assert main([*EXAMPLE, "--format", form]) == 0
        shown[form] = capsys.readouterr().out
    first = csv.DictReader(io.StringIO(shown["csv"].split("\n\n")[0]))
    digits = [row[name] for row in first for name in (*KEYS, "maximum")]
    assert len(digits) == 25
    for form in ("rich", "md", "latex"):
        assert re.findall(r"\b\d\.\d{6}\b", shown[form])[:25] == digits
    rows = json.loads(shown["json"])["responses"]["rows"]
    assert [f"{row[name]:.6f}" for row in rows for name in (*KEYS, "maximum")] == digits
    assert "| \\|bias\\| |" in shown["md"]
    assert shown["latex"].count(r"\end{tabular}") == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--weights", "nan,1"], "--weights='nan,1': 'nan' is no finite number"),
        (["--weights", ""], "--weights='': needs numbers with commas between"),
        (["--weights", "a,b"], "'a' is no finite number"),
        (["--weights", "0.5"], "needs from 2 to 16 numbers, got 1"),
        (["--scales=-1"], "--scales: -1 must be 0 or more"),
        (["--keys", "ten"], "'ten' is not a valid int"),
        (["--plot", "x.gif"], "x.gif: a figure's name must end in one of .png, .pdf, .svg"),
        (["--plot", "no/x.png"], "no/x.png: there is no folder no"),
        (["--plot", "."], ".: a figure's name must end in one of .png, .pdf, .svg"),
    ],
)
def test_a_wrong_request_is_one_line_and_leaves_nothing(
    place: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert main(["analyze", "softmax", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("aqr-exp: ")
    assert err.count("\n") == 1
    assert words in err
    assert list(place.iterdir()) == []


def test_the_plot_is_written_whole(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for ending, start in (("png", b"\x89PNG"), ("pdf", b"%PDF"), ("SVG", b"<?xml")):
        name = f"a picture.{ending}"
        assert main([*EXAMPLE, "--plot", name]) == 0
        out, err = capsys.readouterr()
        assert "0.434319" in out
        assert err == f"{name}: the figure is drawn\n"
        assert (place / name).read_bytes().startswith(start)
    (place / "folder.png").mkdir()
    assert main([*EXAMPLE, "--plot", "folder.png"]) == 2
    assert capsys.readouterr().err == "aqr-exp: folder.png: is a folder\n"
    assert len(list(place.iterdir())) == 4


def test_without_matplotlib_it_says_so(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert main([*EXAMPLE, "--plot", "x.png"]) == 2
    expected = "aqr-exp: x.png: figures need matplotlib: pip install 'aqr-exp[figures]'\n"
    assert capsys.readouterr().err == expected
    assert main(EXAMPLE) == 0
