"""The table by failure, against numbers by hand."""

import json

import pytest

from aqr_exp.data.corruptions.cases import CorruptionCase, read_cases
from aqr_exp.errors import RequestError
from aqr_exp.report.tables.baselines import BaselineMatch
from aqr_exp.report.tables.build import build_table
from aqr_exp.report.tables.corruption_table import failure_table
from aqr_exp.report.tables.formats import TableFormat, render
from aqr_exp.report.tables.request import By, TableRequest
from aqr_exp.store.collect import RunRow
from aqr_exp.store.corruption_results import missing_cases, read_evaluation, write_evaluation
from aqr_exp.store.status import RunStatus
from aqr_exp.store.store import Store

SPLIT = "val"


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "it's; results")


def _row(variant: str, seed: int, nds: float) -> RunRow:
    return RunRow(
        name=f"{variant}-0123-s{seed}",
        status=RunStatus.COMPLETED,
        record={"variant": variant, "fingerprint": "0123", "seed": seed, "setting": "same"},
        metrics={"NDS": nds, "mAP": nds / 2, "split": SPLIT, "predictions_sha256": f"p{seed}"},
    )


def _evaluate(store: Store, row: RunRow, scores: dict[str, float]) -> None:
    folder = store.folder(row.name)
    for name, nds in scores.items():
        (case,) = read_cases(name)
        paths = folder.failure_paths(case.name)
        paths.path.mkdir(parents=True)
        paths.predictions_path(SPLIT).write_text("{}")
        paths.records_path.write_bytes(b"records")
        write_evaluation(folder, case, {"NDS": nds, "mAP": nds / 4}, row.metrics, SPLIT)


@pytest.fixture
def groups(store) -> list[list[RunRow]]:
    """Two baselines under beams and camera drop, one other arm without a word on the latter."""
    base = [_row("baseline", seed, nds) for seed, nds in ((0, 0.8), (1, 0.4))]
    other = [_row("attention_bias", 0, 0.5)]
    beams = ("beams@16", "beams@8", "beams@4")
    _evaluate(
        store, base[0], {**dict(zip(beams, (0.8, 0.4, 0.4), strict=True)), "camera_drop": 0.2}
    )
    _evaluate(
        store, base[1], {**dict(zip(beams, (0.4, 0.2, 0.1), strict=True)), "camera_drop": 0.3}
    )
    _evaluate(store, other[0], dict(zip(beams, (0.5, 0.5, 0.25), strict=True)))
    return [base, other]


def _cells(table, failure: str, variant: str, metric: str) -> dict[str, dict[str, str]]:
    lines = [dict(zip(table.names, [c.text for c in row], strict=True)) for row in table.rows]
    return {
        line["severity"]: line
        for line in lines
        if (line["failure"], line["variant"], line["metric"]) == (failure, variant, metric)
    }


def test_cases_ratios_and_the_worst_are_the_runs_means(groups, store):
    table = failure_table(groups, ["NDS"], store)
    assert _cells(table, "clean", "baseline", "NDS")[""]["mean"] == "60.00"
    cases = _cells(table, "beams", "baseline", "NDS")
    assert [cases[level]["mean"] for level in ("16", "8", "4")] == ["60.00", "30.00", "25.00"]
    assert cases["16"]["sd"] == "28.28"
    # t(1) = 12.706, times .2 (sd / sqrt 2): .6 -+ 2.5412, cut where NDS cannot be.
    assert (cases["16"]["95 % low"], cases["16"]["95 % high"]) == ("0.00", "100.00")
    # Seed 0: (1 + .5 + .5) / 3 = .6667; seed 1: (1 + .5 + .25) / 3 = .5833; mean .625.
    accuracy = _cells(table, "RA", "baseline", "RA")
    assert (accuracy["beams"]["mean"], accuracy["beams"]["n"]) == ("0.6250", "2")
    assert accuracy["camera_drop"]["mean"] == "0.5000"  # (.2 / .8 + .3 / .4) / 2
    assert _cells(table, "RA", "attention_bias", "RA")["beams"]["mean"] == "0.8333"
    # Only beams are common to all evaluated runs.
    assert _cells(table, "mRA", "baseline", "mRA")["of 1 failures"]["mean"] == "0.6250"
    assert _cells(table, "worst case", "baseline", "NDS")["beams@4"]["mean"] == "25.00"


def test_what_is_missing_is_listed(groups, store):
    table = failure_table(groups, ["NDS"], store)
    missing = _cells(table, "camera_drop", "attention_bias", "NDS")["all"]
    assert (missing["n"], missing["mean"]) == ("0", "-")
    (note,) = [note for note in table.notes if note.startswith("attention_bias 0123, seed 0")]
    assert "lidar_drop@origin, lidar_drop@empty, camera_drop@all" in note
    assert "33 more (`aqr-exp eval attention_bias-0123-s0 --failures all`)" in note
    assert any("mRA: mean RA of the 1 of 16 failures" in note for note in table.notes)


@pytest.mark.parametrize("form", [form for form in TableFormat if form is not TableFormat.PARQUET])
def test_every_format_shows_it(groups, store, form):
    rows = [row for group in groups for row in group]
    built = build_table(store, rows, TableRequest(by=By.FAILURE, metrics=["mAP"]))
    shown = render(built.table, form, terminal=False)
    assert "6.25" in shown  # mAP of beams@4: .25 / 4
    if form is TableFormat.JSON:
        json.loads(shown)


def test_named_views_are_shown_and_belong_to_no_mean(groups, store):
    _evaluate(store, groups[0][0], {"view_drop@front": 0.1})
    table = failure_table(groups, ["NDS"], store)
    assert _cells(table, "view_drop", "baseline", "NDS")["front"]["mean"] == "10.00"
    assert "view_drop" not in _cells(table, "RA", "baseline", "RA")
    assert "beams@4" in _cells(table, "worst case", "baseline", "NDS")


def test_damaged_evaluations_are_named_and_evaluated_anew(groups, store):
    row = groups[1][0]
    folder = store.folder(row.name)
    case = CorruptionCase(corruption="beams", severity="4")
    path = folder.failure_paths(case.name).metrics_path
    path.write_text(path.read_text().replace("0.25", "0.95"))
    assert missing_cases(folder, [case], row.metrics) == [case]
    table = failure_table(groups, ["NDS"], store)
    assert any("beams@4/metrics.json is damaged" in note for note in table.notes)
    assert _cells(table, "beams", "attention_bias", "NDS")["4"]["mean"] == "-"


def test_an_evaluation_of_other_weights_does_not_count(groups, store):
    row = groups[1][0]
    case = CorruptionCase(corruption="beams", severity="4")
    folder = store.folder(row.name)
    assert read_evaluation(folder, case, row.metrics) is not None
    assert read_evaluation(folder, case, {"predictions_sha256": "another"}) is None


def test_conditions_are_refused(groups, store):
    with pytest.raises(RequestError, match="--by failure gives the parts: name metrics without @"):
        build_table(store, groups[0], TableRequest(by=By.FAILURE, metrics=["NDS@night"]))


def test_a_folder_of_no_case_is_named_once_with_its_place(groups, store):
    row = groups[0][0]
    places = [store.folder(row.name).failure_paths(name).path for name in ("all", "a b; c")]
    for place in places:
        place.mkdir(parents=True)
    notes = failure_table(groups, ["NDS"], store).notes
    for place in places:
        assert notes.count(f"not in the table: {place} is no case's folder") == 1
    assert not any("unknown failure" in note for note in notes)


def test_each_suite_has_means_of_its_own_and_arms_are_held_against_their_baseline(groups, store):
    ten = [case.name for case in read_cases("multicorrupt")]
    _evaluate(store, groups[0][0], dict.fromkeys(ten, 0.4))
    _evaluate(store, groups[1][0], dict.fromkeys(ten, 0.3) | {ten[0]: 0.6})
    matches = [BaselineMatch(), BaselineMatch(group=groups[0])]
    table = failure_table(groups, ["NDS"], store, matches)
    # Of the baseline's seed 0: .4 / .8; its seed 1 has none. Of the other: nine times .3 / .5, and .8.
    means = _cells(table, "mRA multicorrupt", "baseline", "mRA")
    assert means["of 10 failures"]["mean"] == "0.5000"
    assert _cells(table, "mRA", "baseline", "mRA")["of 1 failures"]["mean"] == "0.6250"
    means = _cells(table, "mRA multicorrupt", "attention_bias", "mRA")
    assert means["of 10 failures"]["mean"] == "0.6200"
    # Beams: 1.25 / 1.6 - 1 of seed 0. MultiCorrupt: nine times .9 / 1.2 - 1 and once 1.2 / 1.2 - 1.
    relative = _cells(table, "RRA (%)", "attention_bias", "RRA (%)")
    assert relative["beams"]["mean"] == "-21.8750"
    assert relative["mc_beamsreducing"]["mean"] == "0.0000"
    assert relative["mc_snow"]["mean"] == "-25.0000"
    means = _cells(table, "mRRA (%) multicorrupt", "attention_bias", "mRRA (%)")
    assert means["of 10 failures"]["mean"] == "-22.5000"
    assert not _cells(table, "RRA (%)", "baseline", "RRA (%)")  # it is what others are held against
    assert any("RRA (relative)" in note for note in table.notes)
    assert any(
        note.startswith(
            "mRA multicorrupt: mean RA of the 10 of 10 failures that every evaluated run"
        )
        for note in table.notes
    )
    note = "baseline 0123, seed 1: not evaluated under any failure of multicorrupt"
    assert any(line.startswith(note) and "--failures multicorrupt`" in line for line in table.notes)
    assert not any("robo3d" in line for line in table.notes)


def test_without_a_baseline_or_its_seeds_there_is_no_relative_resistance(groups, store):
    far = [_row("baseline", 9, 0.8)]
    for match in (BaselineMatch(reason="no baseline"), BaselineMatch(group=far)):
        table = failure_table(groups, ["NDS"], store, [BaselineMatch(), match])
        assert not any("RRA" in cell.text for row in table.rows for cell in row)
        assert not any("RRA" in note for note in table.notes)
