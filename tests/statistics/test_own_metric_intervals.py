"""Own metrics that say again what the benchmark says have the same intervals and verdicts."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from own_metric_world import SPLIT, VERSION, OwnMetricWorld

from aqr_exp.data.classes import CLASS_NAMES
from aqr_exp.evaluate.conditions import CONDITIONS, DataCondition
from aqr_exp.evaluate.ground_truth import load_ground_truth
from aqr_exp.evaluate.own_metric_files import load_metric
from aqr_exp.statistics.differences import arm_intervals, compare_arms
from aqr_exp.statistics.own_metrics import OwnScores, measure_run, with_own_metrics
from aqr_exp.statistics.resampling import Resampling, resample, scene_part
from aqr_exp.statistics.run_scores import scored_records
from aqr_exp.store.collect import RunRow, collect
from aqr_exp.store.store import Store

SETTINGS = Resampling(resamples=60)

# The devkit's own formulas, over rows of all samples.
BENCHMARK = '''"""What the benchmark says, said again."""

import numpy as np

better = "{better}"
bounds = {bounds}
CLASSES = {classes}


def measure(sample):
    """Rows of class, score, hits at the four distances, distance at 2 m, ground truths."""
    found, real = sample.predictions, sample.truths
    at = sample.matches[:, 2]
    away = np.hypot(*(found.centre[:, :2] - real.centre[at, :2]).T) if len(real) else 0.0 * found.score
    hits = (sample.matches >= 0).T
    label = np.argmax([found.name == each for each in CLASSES], axis=0)
    detections = np.column_stack([label, found.score, *hits, away, 0 * away])
    detections = detections[np.isin(found.name, CLASSES)]
    truths = [[at, -1, 0, 0, 0, 0, 0, (real.name == each).sum()] for at, each in enumerate(CLASSES)]
    return np.concatenate([detections, truths])


def number(rows, copies):
    rows = np.repeat(rows, copies, axis=0)
    if not rows[:, 7].sum():
        return np.nan
    return np.mean([of_class(rows[rows[:, 0] == at]) for at in range(len(CLASSES))])


def of_class(rows):
    truths, rows = rows[:, 7].sum(), rows[rows[:, 1] >= 0]
    rows = rows[np.argsort(-rows[:, 1], kind="stable")]
    return {what}


def curves(rows, hits, truths):
    recall, precision = np.cumsum(hits) / truths, np.cumsum(hits) / np.arange(1, 1 + len(hits))
    at = np.linspace(0, 1, 101)
    score = np.interp(at, recall, rows[:, 1], right=0)
    return np.interp(at, recall, precision, right=0), score


def precision(rows, truths):
    found = []
    for hits in rows[:, 2:6].T:
        if not truths or not hits.any():
            found.append(0.0)
            continue
        found.append(np.maximum(curves(rows, hits, truths)[0][11:] - 0.1, 0).mean() / 0.9)
    return np.mean(found)


def distance(rows, truths):
    hits = rows[:, 4] > 0
    if not truths or not hits.any():
        return 1.0
    score = curves(rows, hits, truths)[1]
    means = np.cumsum(rows[hits, 6]) / np.arange(1, 1 + hits.sum())
    errors = np.interp(score[::-1], rows[hits, 1][::-1], means[::-1])[::-1]
    last = np.flatnonzero(score)[-1]
    return 1.0 if last < 11 else errors[11 : last + 1].mean()
'''


def write(folder: Path, name: str, **parts: object) -> None:
    folder.mkdir(exist_ok=True)
    text = BENCHMARK
    for key, value in parts.items():
        text = text.replace(f"{{{key}}}", str(value))
    (folder / f"{name}.py").write_text(text)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> OwnMetricWorld:
    return OwnMetricWorld.make(tmp_path_factory.mktemp("tables"))


@pytest.fixture(scope="module")
def filled(world: OwnMetricWorld, tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Path]:
    """Two arms, and three metrics of the benchmark written again and measured."""
    place = tmp_path_factory.mktemp("work")
    store = Store(place / "results")
    world.fill(store, place, {"first": 1.2, "better_one": 0.2})
    error = {"better": "less", "bounds": "(0.0, float('inf'))"}
    ap = {"what": "precision(rows, truths)", "better": "more", "bounds": "(0.0, 1.0)"}
    of = {"what": "distance(rows, truths)", **error}
    write(place / "metrics", "again_map", classes=[*CLASS_NAMES], **ap)
    write(place / "metrics", "again_mate", classes=[*CLASS_NAMES], **of)
    write(place / "metrics", "car_error", classes=["car"], **of)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        truth = load_ground_truth(world.root, VERSION, SPLIT)
        for name in ("again_map", "again_mate", "car_error"):
            metric = load_metric(name, store.root)
            for row in collect(store):
                folder = store.folder(row.name)
                measure_run(folder, metric, folder.predictions_path(SPLIT), truth, row.metrics)
    return store, place


@pytest.fixture
def arms(
    filled: tuple[Store, Path], monkeypatch: pytest.MonkeyPatch
) -> tuple[Store, list[list[RunRow]]]:
    store, place = filled
    monkeypatch.chdir(place)
    names = ["again_map", "again_mate", "car_error"]
    rows, notes = with_own_metrics(store, collect(store), names)
    assert notes == []
    return store, [[row for row in rows if row.variant == arm] for arm in ("first", "better_one")]


@pytest.mark.parametrize(
    ("condition", "population"), [(None, "val"), (None, "scenes"), ("night", "scenes")]
)
@pytest.mark.parametrize(("ours", "theirs"), [("again_map", "mAP"), ("again_mate", "mATE")])
def test_a_metric_of_the_benchmark_written_again_has_its_interval(
    arms: tuple[Store, list[list[RunRow]]],
    ours: str,
    theirs: str,
    condition: str | None,
    population: str,
) -> None:
    store, (first, other) = arms
    settings = replace(SETTINGS, population=population)
    found = arm_intervals(
        first, [ours, theirs], store=store, condition=condition, settings=settings
    )
    for name in ("mean", "sd", "low", "high", "scene_sd", "scenes"):
        own, official = (getattr(found[each], name) for each in (ours, theirs))
        assert own == pytest.approx(official, abs=1e-9), name
    assert found[ours].scene_sd > 1e-4
    if condition is None and theirs == "mAP":  # not one of several that are corrected together
        both = compare_arms(
            first, [other], [ours, theirs], store=store, condition=condition, settings=settings
        )
        for name in ("mean", "low", "high", "p", "mde", "scenes", "elsewhere", "word"):
            own, official = (getattr(both[each][0], name) for each in (ours, theirs))
            assert own == pytest.approx(official, abs=1e-9), name
        assert both[ours][0].word == "better"


@pytest.mark.parametrize("name", [None, "night", "0-20m", "20-30m", "small", "large"])
def test_a_classs_translation_error_is_drawn_as_the_benchmarks(
    arms: tuple[Store, list[list[RunRow]]], name: str | None
) -> None:
    store, ((row, *_), _) = arms
    part = CONDITIONS.get(name or "", DataCondition())
    drawn = resample(scored_records(store, row), scene_part(part), SETTINGS).scores
    car = CLASS_NAMES.index("car")
    expected = np.where(drawn.truths[:, car] > 0, drawn.errors[:, car, 0], np.nan)
    if name == "small":  # there are no cars
        expected = np.full(len(expected), np.nan)
    found = OwnScores("car_error", name, store, SETTINGS).of(row, part)
    np.testing.assert_allclose(found.values, expected, rtol=0, atol=1e-9)
    stored = row.metric("car_error" if name is None else f"car_error@{name}")
    if name == "small":
        assert stored is None
        return
    assert stored == pytest.approx(expected[0], abs=1e-9)
    assert np.nanstd(found.drawn()) > 1e-3
