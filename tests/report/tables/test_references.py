import csv
import io
import json
from pathlib import Path

import pytest
from made_up_runs import run_row
from tables_as_lines import lines

from aqr_exp.errors import AqrExpError
from aqr_exp.report.tables.build import build_table
from aqr_exp.report.tables.cells import Table
from aqr_exp.report.tables.formats import TableFormat, render
from aqr_exp.report.tables.references import read_references, reference_dirs
from aqr_exp.report.tables.request import By, TableRequest
from aqr_exp.store.store import Store

SHIPPED = Path(__file__).resolve().parents[3] / "results" / "reference"
HEAD = "name,changes,data,mAP,NDS,source\n"
MARK = "reference, not measured here"


def with_references(root: Path, **request: object) -> Table:
    rows = [run_row(seed, 0.3 + seed / 100) for seed in range(3)]
    rows += [
        run_row(seed, 0.3, variant="attention_bias", fingerprint="b" * 12) for seed in range(3)
    ]
    asked = TableRequest(references=True, **request)  # type: ignore[arg-type]
    return build_table(Store(root), rows, asked).table


def test_published_numbers_are_those_of_their_sources() -> None:
    found = {(item.name, item.changes): item for item in read_references([SHIPPED])}
    r50 = found["CMT r50", "800x320, voxel 0.1 m"]
    assert r50.values == {"mAP": 0.679, "NDS": 0.708}
    assert "arXiv 2301.01283" in r50.source
    assert found["CMT", "camera only"].values == {"mAP": 0.406, "NDS": 0.460}
    notes = found["renderer_modulator", "r50"]
    assert notes.values == {"mAP": 0.6171, "NDS": 0.6943, "time / baseline": 1.10}
    assert found["attention_bias", "r50, bias_scale=5"].values == {"mAP": 0.642, "NDS": 0.712}
    assert len(found) == 14
    assert all(item.data == "nuScenes val" and item.source for item in found.values())


def test_references_stand_apart_are_marked_and_compared_with_nothing(tmp_path: Path) -> None:
    table = with_references(tmp_path)
    assert {line["origin"] for line in lines(table)} == {"measured here"}
    assert len(table.references) == 14
    place = {name: index for index, name in enumerate(table.names)}
    for row in table.references:
        assert row[place["origin"]].text == MARK
        assert row[place["source"]].text
        for column in ("n", "mAP difference", "mAP verdict", "mAP low", "identity"):
            assert row[place[column]].value is None
    parsed = json.loads(render(table, TableFormat.JSON))
    assert len(parsed["rows"]) == 2
    assert [item["mAP"] for item in parsed["references"]][:2] == [67.9, 70.3]
    read = list(csv.DictReader(io.StringIO(render(table, TableFormat.CSV))))
    assert [item["origin"] for item in read] == ["measured here"] * 2 + [MARK] * 14
    for form in (TableFormat.MD, TableFormat.LATEX, TableFormat.HTML):
        assert render(table, form).count(MARK) == 14
    latex = render(table, TableFormat.LATEX)
    assert latex.index("\\midrule\nCMT r50") > latex.index("attention\\_bias &")


def test_on_a_screen_references_are_a_table_of_their_own(tmp_path: Path) -> None:
    for terminal in (False, True):
        text = render(with_references(tmp_path), TableFormat.RICH, terminal=terminal)
        measured, _, apart = text.partition("Reference, not measured here")
        assert "67.90" in apart
        assert "0.6790" not in measured
        assert "measured here" not in measured
        assert "difference" not in apart
        assert "(1) Yan et al., ICCV 2023" in apart


def test_references_are_never_among_the_comparisons(tmp_path: Path) -> None:
    without = build_table(
        Store(tmp_path),
        [run_row(seed, 0.3) for seed in range(3)],
        TableRequest(references=True),
    ).table
    assert "mAP difference" not in without.names


def test_blocks_have_the_references_that_say_their_metric(tmp_path: Path) -> None:
    table = with_references(tmp_path, by=By.METRIC, metrics=["NDS", "mATE"])
    place = {name: index for index, name in enumerate(table.names)}
    assert {row[place["metric"]].text for row in table.references} == {"NDS"}
    assert table.references[0][place["mean"]].text == "70.80"


def test_the_users_own_references_are_read_beside_the_shipped(tmp_path: Path) -> None:
    folder = tmp_path / "reference"
    folder.mkdir()
    (folder / "mine.csv").write_text(HEAD + 'x,"a; ""b""",val,.5,,me\n')
    assert reference_dirs(tmp_path)[-1] == folder
    assert read_references([folder])[0].values == {"mAP": 0.5}
    assert len(with_references(tmp_path).references) == 15


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (HEAD + "x,,val,.5,.6,\n", "mine.csv:2: a reference needs its source"),
        (HEAD + "x,,val,high,.6,me\n", "mine.csv:2: mAP is 'high', not a number"),
        (HEAD + "x,,val,nan,.6,me\n", "mine.csv:2: mAP is 'nan', not a number"),
        ("name,mAP\nx,.5\n", "mine.csv has no column changes, data, source"),
        ("", "mine.csv has no column name, changes, data, source"),
        (HEAD + '"x', "mine.csv cannot be read: "),
    ],
)
def test_a_damaged_file_is_named_with_its_line(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "mine.csv").write_text(text)
    with pytest.raises(AqrExpError) as caught:
        read_references([tmp_path])
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
