"""Stored text and numbers of any kind in figures: drawn harmless, and their files lie where they should."""

import warnings
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from made_up_runs import MadeUpStore

from aqr_exp.cli.main import main
from aqr_exp.report.arm_names import arm_labels
from aqr_exp.report.figures.style import MOST_LETTERS, new_figure, plain_axes, words
from aqr_exp.store.history import with_crc

HOSTILE = {
    "escape": "\x1b]0;owned\x07\x1b[2J",
    "lines": "a\n\r\nb",
    "formula": "$\\frac{1$ $$ \\input{/etc/passwd}",
    "sheet": "=cmd|' /C calc'!A0",
    "markup": "<script>alert(1)</script>&<b>",
    "right to left": "\u202eabc\u2066",
    "hidden": "_nolegend_",
    "nothing": "\x00\x7f\u2028",
    "long": "x" * 100_000,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_any_text_is_drawn_in_one_line(text: str, tmp_path: Path) -> None:
    figure = new_figure(4.0, 3.0)
    plain_axes(figure.subplots(), title=text, x=text, y=text)
    figure.suptitle(words(text))
    path = tmp_path / "figure.svg"
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # of a font without a letter, and of titles wider than the page
        figure.savefig(path)
    ET.parse(path)  # noqa: S314 - our own file
    assert len(words(text)) <= 2 * MOST_LETTERS
    assert words(text).isprintable()


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_store_of_such_texts_is_drawn(
    text: str,
    made_up: MadeUpStore,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for seed, variant in enumerate(("baseline", "attention_bias", "attention_bias")):
        folder = made_up.add(variant, [f"bias_scale={seed}"] * (seed > 0), 0, mAP=0.3, NDS=0.2)
        record = {**folder.read_record(), "preset": text, "overrides": [f"a={text}{seed}"]}
        folder.write_json(folder.record_path, record)
        for step in (1, 2):
            folder.append_history(
                {"kind": "train", "step": step, "epoch": 1, "loss": 1.0 / step, text: 2.0}
            )
    monkeypatch.setenv("AQR_EXP_RESULTS", str(made_up.root))
    for typed in (["curves"], ["curves", "--loss", text], ["sweep", "bias_scale"]):
        code = main(["plot", *typed])
        out, err = capsys.readouterr()
        assert "internal error" not in err
        assert not [mark for mark in out + err if not mark.isprintable() and mark != "\n"]
        assert code == 0 or (code == 2 and len(err) <= 220)
        for line in out.splitlines():
            assert Path(line).parent == made_up.root / "figures"
            assert Path(line).is_file()
            assert len(Path(line).name) <= 120


def test_arms_whose_names_are_cut_stay_apart(made_up: MadeUpStore) -> None:
    from aqr_exp.store.collect import collect

    for seed in (1, 2):
        folder = made_up.add("attention_bias", [f"bias_scale={seed}"], 0, mAP=0.3, NDS=0.2)
        changed = {"overrides": [f"a={'x' * 5000}{seed}{'y' * 5000}"]}
        folder.write_json(folder.record_path, {**folder.read_record(), **changed})
    labels = arm_labels(collect(made_up))
    assert len(set(labels)) == 2
    assert max(map(len, labels)) < 200


NUMBERS = ("1" + "0" * 400, "-1" + "0" * 5000, "1e400", "NaN", "-Infinity")


@pytest.mark.parametrize("number", NUMBERS, ids=[number[:9] for number in NUMBERS])
def test_numbers_of_any_length_in_a_history_are_none(
    number: str,
    made_up: MadeUpStore,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = made_up.add("baseline", [], 0, mAP=0.3, NDS=0.2)
    place = folder.place(folder.history_path)
    lines = [
        f'{{"attempt": 1, "kind": "{kind}", "epoch": 1, "step": {step}, "loss": {loss}, "mAP": {loss}}}'
        for kind, step, loss in (
            ("train", "1", "2.5"),
            ("train", "2", number),
            ("train", "3", "1.5"),
            ("val", "3", number),
        )
    ]
    text = "\n".join(with_crc(line, place) for line in lines) + "\n"
    folder.history_path.write_text(text)
    assert [line["loss"] for line in folder.read_history()] == [2.5, None, 1.5, None]
    monkeypatch.setenv("AQR_EXP_RESULTS", str(made_up.root))
    for typed, code in (
        (["show", "baseline"], 0),
        (["watch", "--once"], 0),
        (["table", "--at-epoch", "1"], 0),
        (["plot", "curves", "--output", str(made_up.root / "c")], 0),
    ):
        assert main(typed) == code, capsys.readouterr().err
        out, err = capsys.readouterr()
        assert "internal error" not in err
        assert max(map(len, (out + err).splitlines())) < 400
