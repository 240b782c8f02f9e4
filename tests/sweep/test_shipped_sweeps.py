from pathlib import Path

import pytest

from aqr_exp.config.compose import group_options, shipped_folder
from aqr_exp.errors import RequestError
from aqr_exp.sweep.cli_source import shipped_sweeps, sweep_request
from aqr_exp.sweep.plan import Plan, plan_sweep
from aqr_exp.sweep.trials import TrialPlanner
from aqr_exp.variants.attention_bias import AttentionBiasSettings

# Runs of each, worked out by hand: points and baselines times seeds.
RUNS = {
    "bias_scale": (8 + 1) * 3,
    # At scale 0 one of the four sizes.
    "bias_scale_x_window_size": (7 * 4 + 1 + 1) * 3,
    "constraints": (4 + 1) * 3,
    # The last control brings a baseline of its own.
    "controls": (7 + 2) * 3,
    # Each arm has four of the eight seeds.
    "instrument": 3 * 4,
    "learnable_scale": (4 + 1) * 3,
    "presets": (5 + 1) * 3,
    # The baseline takes no scale: one run a seed.
    "smoke": (1 + 2) * 2,
    "variants": 3 * 3,
    "window_size": (4 + 1) * 3,
}
SEARCHES = {"search_bias": 20}
"""Trials of each."""


@pytest.fixture(autouse=True)
def _data(data: Path) -> None:
    """Every plan here needs the identity of its data."""


def plan(name: str, *overrides: str) -> Plan:
    return plan_sweep(sweep_request(name, overrides))


def test_every_shipped_sweep_is_known_here() -> None:
    known = sorted([*RUNS, *SEARCHES])
    assert shipped_sweeps() == known
    assert sorted(path.name for path in shipped_folder("sweeps").iterdir()) == [
        f"{name}.yaml" for name in known
    ]
    assert not set(known) & set(group_options()["variant"])  # one word, one meaning


@pytest.mark.parametrize("name", sorted(RUNS))
def test_every_shipped_sweep_can_be_planned(name: str) -> None:
    request = sweep_request(name)
    assert request.description
    found = plan_sweep(request)
    assert (found.name, len(found.runs)) == (name, RUNS[name])
    if name == "instrument":
        return
    # All but the smoke test compare with the baseline on the same seeds.
    seeds = {run.seed for run in found.runs}
    assert {run.seed for run in found.runs if run.variant == "baseline"} == seeds
    assert seeds == ({0, 1} if name == "smoke" else {0, 1, 2})


def test_the_instrument_compares_the_baseline_with_itself_and_with_half_as_many_epochs_more() -> (
    None
):
    arms: dict[tuple[str, int], list[int]] = {}
    for run in plan("instrument").runs:
        schedule = run.config.schedule
        arms.setdefault((run.variant, schedule.epochs), []).append(run.seed)
        # The mean of the last evaluations is of the same two epochs before the end in every arm.
        assert schedule.averaged_epochs == [schedule.epochs - 1, schedule.epochs]
        assert schedule.ema_decay == 0.995
        if isinstance(run.config.variant, AttentionBiasSettings):
            scale = run.config.variant.bias.scale
            assert (scale.start, scale.learnable) == (0.0, False)
    assert arms == {
        ("baseline", 4): [0, 1, 2, 3],
        ("attention_bias", 4): [4, 5, 6, 7],
        ("attention_bias", 6): [4, 5, 6, 7],
    }


# Its seeds and its epochs are parts of what it is.
@pytest.mark.parametrize("name", sorted({*RUNS} - {"instrument"}))
def test_every_shipped_sweep_takes_another_preset(name: str) -> None:
    found = plan(name, "preset=smoke", "seed=7")
    assert {run.config.preset for run in found.runs} == {"smoke"}
    assert {run.config.schedule.epochs for run in found.runs} == {1}
    assert {run.seed for run in found.runs} == {7}


@pytest.mark.parametrize("name", sorted(SEARCHES))
@pytest.mark.parametrize("preset", [(), ("preset=smoke",)])
def test_every_shipped_search_can_be_searched(name: str, preset: tuple[str, ...]) -> None:
    request = sweep_request(name, preset)
    assert request.description
    planner = TrialPlanner(request)
    assert planner.search.trials == SEARCHES[name]
    assert {run.variant for run in planner.check_space().runs} == {"baseline", "attention_bias"}
    with pytest.raises(RequestError, match=f"{name}: is a search: its points are proposed"):
        plan_sweep(request)


def test_the_controls_are_what_they_say() -> None:
    configs = [run.config for run in plan("controls", "seed=0").runs]
    routers = [
        config.variant.router
        for config in configs
        if isinstance(config.variant, AttentionBiasSettings)
    ]
    assert [(router.kind, router.modalities) for router in routers] == [
        ("learned", "both"),
        ("constant", "both"),
        ("shuffled", "both"),
        ("learned", "lidar"),
        ("learned", "camera"),
        ("learned", "both"),
        ("learned", "both"),
    ]
    undropped = [
        config.variant.name
        for config in configs
        if (config.data.augment.drop_camera, config.data.augment.drop_lidar) == (0.0, 0.0)
    ]
    assert undropped == ["baseline", "attention_bias"]
    scales = [
        config.variant.bias.scale
        for config in configs
        if isinstance(config.variant, AttentionBiasSettings)
    ]
    assert [(scale.start, scale.learnable) for scale in scales][5] == (0.0, False)


def test_the_widening_bounds_fit_the_epochs_they_are_written_for() -> None:
    annealed = [
        (rows, run.config.schedule.epochs)
        for run in plan("constraints").runs
        if isinstance(run.config.variant, AttentionBiasSettings)
        and (rows := run.config.variant.bias.scale.anneal)
    ]
    assert len(annealed) == 3
    assert all(rows[-1][0] == epochs - 1 for rows, epochs in annealed)


def test_an_unknown_sweep_is_named_with_the_nearest() -> None:
    with pytest.raises(RequestError) as refused:
        sweep_request("bias_scal")
    assert str(refused.value).startswith("unknown sweep 'bias_scal': did you mean 'bias_scale'?")
    with pytest.raises(RequestError, match=r"^no such sweep file: gone/it.yaml$"):
        sweep_request("gone/it.yaml")
