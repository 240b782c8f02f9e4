"""Two arms compared, against what each part gives alone."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from made_up_runs import MadeUpData, Spread, made_up_arms
from scipy import stats

from aqr_exp.data.classes import CLASS_NAMES
from aqr_exp.errors import RequestError
from aqr_exp.evaluate.conditions import CONDITIONS
from aqr_exp.report.compare.comparison import CLASS, CONDITION, METRIC, Request, compare_two
from aqr_exp.report.compare.tables import comparison_tables
from aqr_exp.report.tables.formats import TableFormat, as_json, render
from aqr_exp.statistics.differences import compare_arms
from aqr_exp.statistics.resampling import Resampling
from aqr_exp.store.collect import RunRow
from aqr_exp.store.looks import LOOKS
from aqr_exp.store.status import RunStatus
from aqr_exp.store.store import Store

SETTINGS = Resampling(resamples=30)
SPECS = {
    "a": {"variant": {"name": "baseline"}, "schedule": {"epochs": 4}, "seed": 0},
    "b": {"variant": {"name": "attention_bias"}, "schedule": {"epochs": 4}, "seed": 1},
}


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, dict[str, list[RunRow]]]:
    """Two arms of three seeds, the second plainly better; trailers are nowhere, six scenes are at night."""
    store = Store(tmp_path_factory.mktemp("compared") / "it's; results")
    rng = np.random.default_rng(5)
    present = [name for name in CLASS_NAMES if name != "trailer"]
    data = MadeUpData.draw(rng, scenes=12, per_scene=3, night=6, present=present)
    arms = made_up_arms(store, rng, data=data, spread=Spread(effects={"b": 2.0}))
    for name, rows in arms.items():
        for row in rows:
            store.folder(row.name).spec_path.write_text(yaml.safe_dump(SPECS[name]))
    return store, arms


@pytest.fixture(autouse=True)
def first_look(kept: tuple[Store, dict[str, list[RunRow]]]) -> None:
    """Nobody has looked at these arms before."""
    shutil.rmtree(kept[0].root / LOOKS, ignore_errors=True)


@pytest.mark.broad
def test_every_number_is_what_the_parts_give(kept: tuple[Store, dict[str, list[RunRow]]]) -> None:
    store, arms = kept
    told: list[tuple[str, int, int]] = []
    found = compare_two(
        arms["a"],
        arms["b"],
        store=store,
        request=Request(settings=SETTINGS),
        progress=lambda *step: told.append(step),
    )
    assert [item.metric for item in found.metrics] == ["mAP", "NDS"]
    assert len(found.errors) == 5
    alone = compare_arms(arms["a"], [arms["b"]], ["mAP"], store=store, settings=SETTINGS)["mAP"]
    first = found.metrics[0]
    assert [first.difference] == alone
    means = [np.mean([row.metrics["mAP"] for row in arms[arm]]) for arm in "ab"]
    np.testing.assert_allclose([first.reference.mean, first.other.mean], means)
    assert first.difference.word == "better"
    assert first.difference.comparisons == 1
    assert {item.difference.word for item in found.errors} <= {
        "better",
        "undecided",
    }
    assert [item.metric for item in found.classes] == [f"AP/{name}" for name in CLASS_NAMES]
    trailer = found.classes[CLASS_NAMES.index("trailer")]
    assert trailer.truths == 0
    assert trailer.difference.mean is None
    assert trailer.difference.word == "no data"
    by_name = {item.condition: item for item in found.conditions}
    assert list(by_name) == list(CONDITIONS)
    truths = sum(arms["a"][0].metrics[f"gt/{name}"] for name in CLASS_NAMES)
    assert first.truths == truths
    halves = [by_name[name].truths for name in ("night", "day")]
    assert None not in halves
    assert sum(halves) == truths
    night = compare_arms(
        arms["a"], [arms["b"]], ["mAP"], store=store, condition="night", settings=SETTINGS
    )
    assert [by_name["night"].difference] == night["mAP"]
    # No records within range bands: nothing is known of them.
    assert by_name["0-20m"].truths is None
    assert len(found.scenes.changes) == 12
    assert [item.key for item in found.configuration] == ["variant.name"]
    assert found.confounders == ()
    assert {what for what, _, _ in told} <= {"resamples", "runs"}
    assert told[-1] == ("runs", 6, 6)


def test_all_runs_of_both_count_and_further_arms_tell_of_noise(
    kept: tuple[Store, dict[str, list[RunRow]]],
) -> None:
    store, arms = kept
    request = Request(parts=(METRIC,), errors=False, settings=SETTINGS)
    left_out = ["a-s9: damaged", "a-s9: damaged"]
    found = compare_two(arms["a"], arms["b"][1:], store=store, request=request, left_out=left_out)
    assert [row.seed for row in found.reference] == [0, 1, 2]
    mean = np.mean([row.metrics["mAP"] for row in arms["a"]])
    np.testing.assert_allclose(found.metrics[0].reference.mean, mean)
    assert found.notes == ("a-s9: damaged",)
    assert found.classes == found.conditions == found.errors == ()
    more = compare_two(
        arms["a"][:2], arms["b"], store=store, request=request, further=[arms["a"][2:], arms["b"]]
    )
    assert (found.metrics[0].difference.degrees, more.metrics[0].difference.degrees) == (3, 5)


def test_confounders_are_named_and_refused_when_strict(
    kept: tuple[Store, dict[str, list[RunRow]]],
) -> None:
    store, arms = kept
    path = store.folder(arms["b"][0].name).spec_path
    before = path.read_text()
    path.write_text(yaml.safe_dump({**SPECS["b"], "schedule": {"epochs": 24}}))
    request = Request(parts=(METRIC,), errors=False, settings=SETTINGS)
    try:
        found = compare_two(arms["a"], arms["b"], store=store, request=request)
        (confounder,) = found.confounders
        assert str(confounder) == "schedule.epochs 24 and 4"
        (note,) = comparison_tables(found, 5)["configuration"].notes
        assert note == "confounded: schedule.epochs is 4 in A and 24 in B"
        strict = Request(parts=(METRIC,), settings=SETTINGS, strict=True)
        with pytest.raises(
            RequestError, match=r"^--strict: the two differ in .*factor: schedule\.epochs 24 and 4$"
        ):
            compare_two(arms["a"], arms["b"], store=store, request=strict)
        declared = Request(
            parts=(METRIC,), errors=False, settings=SETTINGS, factors=("schedule",), strict=True
        )
        assert not compare_two(arms["a"], arms["b"], store=store, request=declared).confounders
    finally:
        path.write_text(before)


def test_tables_hold_the_digits_in_all_formats(
    kept: tuple[Store, dict[str, list[RunRow]]],
) -> None:
    store, arms = kept
    parts = (METRIC, CLASS, CONDITION, "scene")
    request = Request(metrics=("mAP",), errors=False, parts=parts, settings=SETTINGS)
    found = compare_two(arms["a"], arms["b"], store=store, request=request)
    tables = comparison_tables(found, 3)
    assert list(tables) == ["configuration", "metrics", "classes", "conditions", "scenes"]
    assert tables["configuration"].title.startswith("A: a, seeds 0, 1, 2; B: b, seeds 0, 1, 2; ")
    (line,) = as_json(tables["metrics"])["rows"]
    difference = found.metrics[0].difference
    assert line["difference"] == round(100 * (difference.mean or 0.0), 2)
    assert [line["low"], line["high"]] == [
        round(100 * end, 2) for end in (difference.low, difference.high) if end is not None
    ]
    assert (line["n A"], line["n B"], line["verdict"]) == (3, 3, "better")
    text = render(tables["metrics"], TableFormat.MD)
    assert (
        "{:+.2f} [{:+.2f}, {:+.2f}]".format(
            *(100 * (end or 0.0) for end in (difference.mean, difference.low, difference.high))
        )
        in text
    )
    assert len(tables["scenes"].rows) == 3
    assert tables["scenes"].title.startswith(
        "Scenes that changed most: mAP over the scene's classes in points, 3 of 12"
    )
    assert "trailer" in {row[0].text.removeprefix("AP/") for row in tables["classes"].rows}


def test_runs_without_records_are_compared_over_seeds(tmp_path: Path) -> None:
    store = Store(tmp_path)
    arms = {}
    for name, values in {"a": (0.30, 0.32, 0.31), "b": (0.31, 0.34, 0.33)}.items():
        arms[name] = []
        for seed, value in enumerate(values):
            folder = store.folder(f"{name}-s{seed}")
            folder.path.mkdir(parents=True)
            folder.spec_path.write_text(yaml.safe_dump(SPECS[name]))
            record = {"variant": name, "fingerprint": name, "seed": seed}
            row = RunRow(
                name=folder.name, status=RunStatus.COMPLETED, record=record, metrics={"mAP": value}
            )
            arms[name].append(row)
    found = compare_two(arms["a"], arms["b"], store=store, request=Request(settings=SETTINGS))
    first = found.metrics[0]
    np.testing.assert_allclose(first.difference.mean, 0.05 / 3)
    alone = stats.ttest_ind((0.31, 0.34, 0.33), (0.30, 0.32, 0.31), equal_var=False)
    low = alone.confidence_interval(0.95).low
    assert first.difference.low is not None
    assert first.difference.low <= low + 1e-9
    assert first.truths is None
    nds = found.metrics[1]
    assert nds.difference.mean is None
    assert nds.difference.word == "no data"
    assert found.scenes.notes == ("no scenes are compared: a-s0: no match records",)
    tables = comparison_tables(found, 10)
    assert tables["scenes"].notes == found.scenes.notes
    cells = dict(zip(tables["metrics"].names, tables["metrics"].rows[1], strict=True))
    assert (cells["metric"].text, cells["A"].text, cells["difference"].text) == ("NDS", "-", "-")
