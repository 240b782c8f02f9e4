"""Best points of a sweep and their confirmation."""

from pathlib import Path
from typing import Any

import pytest

from aqr_exp.errors import RequestError
from aqr_exp.store.collect import RunRow
from aqr_exp.store.status import RunStatus
from aqr_exp.store.sweep_folder import SweepEntry
from aqr_exp.sweep.cli_source import sweep_request
from aqr_exp.sweep.confirmation import confirmation, counting_by_name, select_best
from aqr_exp.sweep.plan import Plan, plan_sweep


def entry(arm: str, seed: int, *overrides: str) -> SweepEntry:
    variant = arm.rpartition("-")[0]
    return SweepEntry(name=f"{arm}-s{seed}", variant=variant, overrides=overrides, seed=seed)


def row(name: str, mean_ap: float | None, *, updated: str = "1", **metrics: Any) -> RunRow:
    status = "failed" if mean_ap is None else "completed"
    variant, fingerprint = name.rpartition("-s")[0].rsplit("-", 1)
    record = {"variant": variant, "fingerprint": fingerprint, "setting": "same"}
    numbers = {"mAP": mean_ap, **metrics}
    return RunRow(
        name=name, status=RunStatus(status), updated=updated, record=record, metrics=numbers
    )


ENTRIES = [
    entry(arm, seed, f"bias_scale={place}")
    for seed in (0, 1, 4)
    for place, arm in enumerate(("attention_bias-aa", "attention_bias-bb", "attention_bias-cc"))
] + [entry("baseline-00", seed) for seed in (0, 1, 4)]


def test_the_best_means_are_chosen_from_the_sweeps_own_runs() -> None:
    rows = [
        row("attention_bias-aa-s0", 0.30),
        row("attention_bias-aa-s1", 0.34),
        # A forced attempt counts in place of the first.
        row("attention_bias-bb-s0", 0.10),
        row("attention_bias-bb-s0-a2", 0.33, updated="2"),
        row("attention_bias-cc-s0", None),
        row("baseline-00-s0", 0.9),
        # A seed that the sweep does not mean has no part in the choice.
        row("attention_bias-aa-s7", 0.99),
    ]
    found = select_best("mine", ENTRIES, rows, metric="mAP", best=3)
    assert [point.arm for point in found.points] == ["attention_bias-bb", "attention_bias-aa"]
    assert [len(point.rows) for point in found.points] == [1, 2]
    assert found.points[0].rows[0].name == "attention_bias-bb-s0-a2"
    assert (found.candidates, found.unscored) == (2, 1)
    assert [one.arm for one in found.baselines if one] == ["baseline-00", "baseline-00"]
    assert found.used_seeds == {0, 1, 4}
    assert found.fresh_seeds(4) == (2, 3, 5, 6)


def test_of_errors_the_lowest_is_the_best_and_equal_ones_stay_in_order() -> None:
    rows = [
        row("attention_bias-aa-s0", 0.3, mATE=0.5),
        row("attention_bias-bb-s0", 0.3, mATE=0.4),
        row("attention_bias-cc-s0", 0.3, mATE=0.4),
    ]
    found = select_best("mine", ENTRIES, rows, metric="mATE", best=2)
    assert [point.arm for point in found.points] == ["attention_bias-bb", "attention_bias-cc"]
    assert found.baselines == (None, None)


def test_a_sweep_without_results_is_refused() -> None:
    rows = [row("baseline-00-s0", 0.9), row("attention_bias-aa-s0", None)]
    fault = r"^sweep 'mine' has no completed run with mAP besides baselines: nothing to confirm$"
    with pytest.raises(RequestError, match=fault):
        select_best("mine", ENTRIES, rows, metric="mAP", best=3)


def finished(plan: Plan) -> tuple[list[SweepEntry], list[RunRow]]:
    """A plan as its folder would say, the runs with rising mAP."""
    entries = [
        SweepEntry(name=run.name, variant=run.variant, overrides=run.overrides, seed=run.seed)
        for run in plan.runs
    ]
    return entries, [row(run.name, 0.1 + place / 100) for place, run in enumerate(plan.runs)]


def test_the_plan_is_the_best_and_their_baseline_on_fresh_seeds(data: Path) -> None:
    plan = plan_sweep(sweep_request("attention_bias", ["bias_scale=1,2,3", "seed=0,1"]))
    entries, rows = finished(plan)
    selection = select_best("mine", entries, rows, metric="mAP", best=2)
    found = confirmation(selection, 3)
    assert found.plan.name == "confirm-mine"
    arms = {run.name.rpartition("-s")[0] for run in found.plan.runs}
    assert arms == {*(point.arm for point in selection.points), *found.baseline_arms}
    assert [point.overrides for point in selection.points] == [
        ("bias_scale=3",),
        ("bias_scale=2",),
    ]
    # The typed sweep brings no baseline: that of the same data and schedule is taken.
    baseline = plan_sweep(sweep_request("baseline")).runs[0].name.rpartition("-s")[0]
    assert found.baseline_arms == (baseline, baseline)
    assert sorted({run.seed for run in found.plan.runs}) == [2, 3, 4]
    assert len(found.plan.runs) == 9
    fresh = [row(f"{baseline}-s2", 0.3), row(f"{baseline}-s1", 0.3), row(f"{baseline}-s3", None)]
    assert [one.name for one in found.completed(baseline, fresh)] == [f"{baseline}-s2"]


def test_the_sweeps_own_baseline_is_taken_where_it_has_one(data: Path) -> None:
    request = sweep_request("bias_scale", ["bias_scale=1,2", "seed=0", "schedule.epochs=3"])
    entries, rows = finished(plan_sweep(request))
    selection = select_best("bias_scale", entries, rows, metric="mAP", best=1)
    own = next(one.name for one in entries if one.variant == "baseline").rpartition("-s")[0]
    found = confirmation(selection, 1)
    assert found.baseline_arms == (own,)
    assert [run.variant for run in found.plan.runs] == ["baseline", "attention_bias"]


def test_a_point_that_means_something_else_now_is_refused(data: Path) -> None:
    entries, _ = finished(plan_sweep(sweep_request("attention_bias", ["bias_scale=1,2"])))
    moved = [
        SweepEntry(
            name=one.name.replace(one.name.rpartition("-s")[0], "attention_bias-0123456789ab"),
            variant=one.variant,
            overrides=one.overrides,
            seed=one.seed,
        )
        for one in entries[:1]
    ]
    swept = [row(moved[0].name, 0.3)]
    selection = select_best("mine", moved, swept, metric="mAP", best=1)
    fault = (
        r"^attention_bias-0123456789ab: `attention_bias bias_scale=1` means attention_bias-\w+ now"
    )
    with pytest.raises(RequestError, match=fault):
        confirmation(selection, 1)


def test_the_completed_rerun_of_the_highest_number_counts() -> None:
    rows = [
        row("baseline-aa-s0", 0.3, updated="2"),
        row("baseline-aa-s0-a2", 0.4, updated="1"),
        row("baseline-aa-s0-a3", None),
        row("baseline-aa-s1", None),
    ]
    assert {name: one.name for name, one in counting_by_name(rows).items()} == {
        "baseline-aa-s0": "baseline-aa-s0-a2"
    }
