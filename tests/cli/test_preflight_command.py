"""Trials and messages of the pre-flight command; its checks are tested in their own rooms."""

import dataclasses
from collections.abc import Iterator, Mapping

import pytest

from aqr_exp.cli.sweep_execute import preflight, untried
from aqr_exp.config.identity import run_name
from aqr_exp.config.schema import RunConfig
from aqr_exp.errors import RequestError
from aqr_exp.launch.measuring import FirstSteps
from aqr_exp.launch.slots import Slot
from aqr_exp.store.store import Store
from aqr_exp.sweep.plan import Plan, PlannedRun

SLOT = Slot(name="cpu-0", threads=1)


@pytest.fixture
def plan(config: RunConfig) -> Plan:
    """Two seeds each of one and of two epochs."""
    runs = []
    for seed in (0, 1):
        for epochs in (1, 2):
            schedule = dataclasses.replace(config.schedule, epochs=epochs)
            one = dataclasses.replace(config, seed=seed, schedule=schedule)
            runs.append(
                PlannedRun(
                    variant="baseline",
                    overrides=(f"schedule.epochs={epochs}",),
                    seed=seed,
                    config=one,
                    name=run_name(one),
                    labels=("point",),
                )
            )
    return Plan(name="x", runs=tuple(runs))


def test_seeds_share_one_trial(plan: Plan, store: Store) -> None:
    found = untried(plan, store)
    assert list(found) == ["baseline schedule.epochs=1", "baseline schedule.epochs=2"]
    assert [config.schedule.epochs for config in found.values()] == [1, 2]


@pytest.mark.parametrize("at", [0, 2])
def test_what_has_made_a_step_with_any_seed_is_not_tried(plan: Plan, store: Store, at: int) -> None:
    folder = store.folder(plan.runs[at].name)
    folder.create("seed: 0\n", {})
    assert len(untried(plan, store)) == 2
    folder.append_history({"kind": "train", "step": 1})
    assert list(untried(plan, store)) == ["baseline schedule.epochs=2"]


def test_every_fault_is_told_and_nothing_starts(
    plan: Plan,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def steps(configs: Mapping[str, RunConfig], slot: Slot) -> Iterator[FirstSteps]:
        assert slot is SLOT
        one, other = configs
        yield FirstSteps(name=one, step_s=0.25, memory_mb=900.4, loss=19.329)
        yield FirstSteps(name=other, fault="out of memory")

    monkeypatch.delenv("AQR_EXP_TRAIN_COMMAND", raising=False)
    monkeypatch.setattr("aqr_exp.cli.sweep_execute.try_first_steps", steps)
    with pytest.raises(RequestError) as caught:
        preflight(plan, store, SLOT)
    assert str(caught.value).splitlines() == [
        "pre-flight: baseline schedule.epochs=2: out of memory",
        "nothing was started (--no-preflight leaves it out)",
    ]
    assert capsys.readouterr().err.splitlines() == [
        "pre-flight: 2 configurations, a few steps each (--no-preflight leaves it out)",
        "  baseline schedule.epochs=1: 0.25 s a step, 900 MB at most, loss 19.33",
        "  baseline schedule.epochs=2: out of memory",
    ]


def test_stand_ins_are_not_tried(
    plan: Plan,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("AQR_EXP_TRAIN_COMMAND", '["true"]')
    preflight(plan, store, SLOT)
    assert capsys.readouterr().err == ""
