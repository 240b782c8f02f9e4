"""One count of ground truths: a comparison and a table say the same, and it is what the metric counted."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from made_up_runs import MadeUpData, made_up_arms
from tables_as_lines import lines

from aqr_exp.evaluate.conditions import CONDITIONS, condition_metrics
from aqr_exp.evaluate.records import read_records
from aqr_exp.report.compare.comparison import CONDITION, METRIC, Request, compare_two
from aqr_exp.report.tables.build import build_table
from aqr_exp.report.tables.request import By, TableRequest
from aqr_exp.statistics.resampling import Resampling
from aqr_exp.statistics.run_scores import GroundTruths
from aqr_exp.store.store import Store


@pytest.mark.usefixtures("few_resamples")
def test_a_table_and_a_comparison_count_the_boxes_that_the_metric_counts(tmp_path: Path) -> None:
    store, rng = Store(tmp_path), np.random.default_rng(3)
    arms = made_up_arms(
        store, rng, seeds=1, data=MadeUpData.draw(rng, scenes=6, per_scene=2, night=2)
    )
    rows = [row for own in arms.values() for row in own]
    for row in rows:
        spec = {"variant": {"name": row.variant}, "seed": 0}
        store.folder(row.name).spec_path.write_text(yaml.safe_dump(spec))
    truths = condition_metrics(read_records(store.folder(rows[0].name).records_path))
    request = Request(
        metrics=("AP/car",), parts=(METRIC, CONDITION), settings=Resampling(resamples=10)
    )
    found = compare_two(arms["a"], arms["b"], store=store, request=request)
    compared = {item.condition: item.truths for item in (*found.metrics, *found.conditions)}
    by_condition = TableRequest(by=By.CONDITION, metrics=("AP/car",))
    shown = {
        line["condition"]: line["ground truth"]
        for line in lines(build_table(store, rows, by_condition).table)
    }
    assert compared[None] == rows[0].metrics["gt/car"]
    for name in ("night", "day", "rain", "dry", "large"):
        assert compared[name] == truths[name]["gt/car"], name
        assert shown[name] == str(truths[name]["gt/car"]), name
    assert 0 < compared["night"] < compared[None]
    # A condition that cannot hold the class has no number of it.
    assert (compared["small"], shown["small"]) == (None, "-")


def test_other_metrics_rest_on_all_classes_that_the_condition_can_hold(tmp_path: Path) -> None:
    store, rng = Store(tmp_path), np.random.default_rng(4)
    (rows,) = made_up_arms(
        store, rng, ("a",), seeds=1, data=MadeUpData.draw(rng, scenes=4, night=1)
    ).values()
    counts = GroundTruths(store)
    truths = condition_metrics(read_records(store.folder(rows[0].name).records_path))
    for name, metrics in truths.items():
        expected = sum(value for key, value in metrics.items() if key.startswith("gt/"))
        assert counts.of(rows, "mAP", name) == {expected}, name
    assert set(truths) < set(CONDITIONS), "records without range bands"
    assert counts.of(rows, "NDS", "0-20m") == set()
    assert GroundTruths().of(rows, "mAP", "night") == set()
    whole = sum(value for key, value in rows[0].metrics.items() if key.startswith("gt/"))
    assert GroundTruths().of(rows, "mAP", None) == {whole}
