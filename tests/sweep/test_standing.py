from pathlib import Path

import msgspec
import pytest

from aqr_exp.config.identity import as_dict, run_name, setting_fingerprint, to_yaml
from aqr_exp.config.inputs import with_data_identity
from aqr_exp.config.load import load_run
from aqr_exp.launch.record import build_record
from aqr_exp.store.collect import RunRow
from aqr_exp.store.run_folder import RunFolder
from aqr_exp.store.status import RunStatus
from aqr_exp.store.store import Store
from aqr_exp.sweep.cli_source import sweep_request
from aqr_exp.sweep.plan import Plan, plan_sweep
from aqr_exp.sweep.report import as_json, matrix_table, summary
from aqr_exp.sweep.status import StatusReader, completeness, expected_from, totals

METRICS = {"mAP": 0.25, "NDS": 0.3, "split": "synth_val", "synthetic": True, "train_time_s": 120.0}


@pytest.fixture
def store(tmp_path: Path, data: Path) -> Store:
    return Store(tmp_path / "results")


@pytest.fixture
def plan(data: Path) -> Plan:
    """Baseline and two scales over two seeds, every run of one fixed preset."""
    return plan_sweep(sweep_request("smoke"))


def make(store: Store, plan: Plan, index: int, status: str, name: str = "") -> RunFolder:
    run = plan.runs[index]
    folder = store.folder(name or run.name)
    folder.create(to_yaml(run.config), build_record(run.config, overrides=[], argv=[]))
    if status == "completed":
        folder.write_metrics(METRICS)
    folder.write_state(status, reason="the loss is not finite" if status == "failed" else None)
    return folder


def test_every_state_is_told_apart(store: Store, plan: Plan) -> None:
    make(store, plan, 0, "completed")
    make(store, plan, 1, "failed")
    make(store, plan, 2, "planned")
    running = make(store, plan, 3, "running")
    make(store, plan, 4, "running")
    with running.lock():
        found = StatusReader(store).of(plan)
        assert [status.state for status in found] == [
            *("completed", "failed", "to do", "running", "interrupted", "to do"),
        ]
        assert found[1].reason == "the loss is not finite"
        assert found[3].reason is not None
        assert found[3].reason.startswith("process ")
        assert [status.needs_run for status in found] == [False, True, True, False, True, True]


def test_a_forced_attempt_that_completed_counts(store: Store, plan: Plan) -> None:
    make(store, plan, 0, "completed")
    make(store, plan, 0, "failed", f"{plan.runs[0].name}-a2")
    make(store, plan, 1, "failed")
    make(store, plan, 1, "completed", f"{plan.runs[1].name}-a2")
    found = StatusReader(store).of(plan)
    assert [(item.state, item.folder) for item in found[:2]] == [
        ("completed", plan.runs[0].name),
        ("completed", f"{plan.runs[1].name}-a2"),
    ]


def test_a_damaged_run_is_named_and_not_started(store: Store, plan: Plan) -> None:
    make(store, plan, 0, "completed").state_path.write_text("{")
    status = StatusReader(store).of(plan)[0]
    assert (status.state, status.needs_run) == ("damaged", False)
    assert status.reason is not None
    assert "state.json" in status.reason


def row(variant: str, overrides: list[str], seconds: float | None, **changes: object) -> RunRow:
    config = with_data_identity(load_run(variant, overrides))
    record = {"variant": variant, "setting": setting_fingerprint(as_dict(config))}
    metrics = {} if seconds is None else {"train_time_s": seconds}
    base = RunRow(name=run_name(config), status=RunStatus.COMPLETED, record=record, metrics=metrics)
    return msgspec.structs.replace(base, **changes)  # type: ignore[arg-type]


def test_times_are_expected_from_the_same_variant_and_setting(data: Path) -> None:
    expected = expected_from(
        [
            row("baseline", [], 100.0),
            row("baseline", ["seed=1"], 200.0),
            row("attention_bias", ["bias_scale=3"], 400.0),
            row("baseline", ["schedule.epochs=9"], 5000.0),
            row("baseline", ["seed=2"], 7.0, attempt=2),  # its last attempt alone was timed
            row("baseline", ["seed=3"], 7.0, status=RunStatus.FAILED),
            row("baseline", ["seed=4"], None),
        ]
    )

    def of(variant: str, *overrides: str) -> float | None:
        return expected(with_data_identity(load_run(variant, overrides)))

    assert of("baseline", "seed=5") == 150.0
    assert of("attention_bias", "window_size=5") == 400.0
    assert of("renderer_modulator") == pytest.approx(700 / 3)  # of what has the same setting
    assert of("baseline", "schedule.epochs=9", "launcher.threads=1") == 5000.0
    assert of("baseline", "schedule.epochs=8") is None


def test_the_matrix_shows_points_by_seeds(store: Store, plan: Plan) -> None:
    make(store, plan, 0, "completed")
    make(store, plan, 4, "failed")
    matrix = completeness(StatusReader(store).of(plan))
    assert matrix.seeds == (0, 1)
    assert [(row_.variant, row_.overrides, row_.states) for row_ in matrix.rows] == [
        ("baseline", (), ("completed", "to do")),
        ("attention_bias", ("bias_scale=1",), ("to do", "failed")),
        ("attention_bias", ("bias_scale=2.5",), ("to do", "to do")),
    ]
    assert matrix.rows[0].fingerprint == plan.runs[0].name.split("-")[1]


def test_a_seed_that_a_condition_leaves_out_is_a_dash(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "one.yaml"
    path.write_text(
        "variant: [baseline, attention_bias]\nseeds: [0, 1]\nskip: variant != 'baseline' and seed > 0\n"
    )
    plan = plan_sweep(sweep_request(str(path)))
    table = matrix_table(plan, StatusReader(store).of(plan))
    assert [column.name for column in table.columns] == ["point", "seed 0", "seed 1"]
    assert [[cell.text for cell in row_] for row_ in table.rows] == [
        ["baseline", "to do", "to do"],
        ["attention_bias", "to do", "-"],
    ]


def test_the_totals_sum_what_is_left(store: Store, plan: Plan) -> None:
    make(store, plan, 0, "completed")
    timed = StatusReader(store)
    plan = plan_sweep(sweep_request("smoke"), timed.expected())
    sums = totals(timed.of(plan))
    assert (sums.runs, sums.states) == (6, {RunStatus.TO_DO: 5, RunStatus.COMPLETED: 1})
    assert (sums.expected_s, sums.untimed) == (5 * 120.0, 0)
    assert summary(plan, timed.of(plan)) == (
        "smoke: 6 runs: 5 to do, 1 done; 2 points are the same run as another\n"
        "5 to do, about 10 min of training one after the other"
    )
    found = as_json(plan, timed.of(plan))
    assert found["totals"]["to_do"] == 5
    assert [run["expected_s"] for run in found["runs"]] == [120.0] * 6
    assert found["completeness"]["points"][0]["states"] == ["done", "to do"]


def test_a_finished_sweep_says_so(store: Store, plan: Plan) -> None:
    for index in range(6):
        make(store, plan, index, "completed")
    assert summary(plan, StatusReader(store).of(plan)).splitlines() == [
        "smoke: 6 runs: 6 done; 2 points are the same run as another",
        "nothing is left to do",
    ]
    store.folder(plan.runs[5].name).state_path.write_text("{")
    assert summary(plan, StatusReader(store).of(plan)).splitlines() == [
        "smoke: 6 runs: 5 done, 1 damaged; 2 points are the same run as another",
        "nothing is left to start",
    ]


def test_times_that_nothing_tells_are_said_to_be_unknown(store: Store, plan: Plan) -> None:
    assert summary(plan, StatusReader(store).of(plan)).splitlines()[1] == (
        "6 to do (6 of unknown time: no such run has been completed)"
    )
