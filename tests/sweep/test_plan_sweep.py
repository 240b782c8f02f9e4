import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aqr_exp.config.identity import run_name
from aqr_exp.config.inputs import with_data_identity
from aqr_exp.config.load import load_run
from aqr_exp.errors import RequestError
from aqr_exp.sweep.cli_source import sweep_request
from aqr_exp.sweep.plan import Plan, plan_sweep
from aqr_exp.sweep.yaml_source import read_sweep

Write = Callable[[str], Path]


@pytest.fixture(autouse=True)
def _data(data: Path) -> None:
    """Every plan here needs the identity of its data."""


def planned(sweep_file: Write, text: str) -> Plan:
    return plan_sweep(read_sweep(sweep_file(text), "x.yaml"))


def lines(plan: Plan) -> list[str]:
    return [" ".join((run.variant, *run.overrides, f"seed={run.seed}")) for run in plan.runs]


def test_a_product_is_planned_seed_after_seed() -> None:
    plan = plan_sweep(
        sweep_request("attention_bias", ["bias_scale=1,2", "window_size=5,8", "seed=0,1"])
    )
    expected = [
        f"attention_bias bias_scale={scale} window_size={size} seed={seed}"
        for seed, scale, size in itertools.product((0, 1), (1, 2), (5, 8))
    ]
    assert lines(plan) == expected
    assert plan.name == "attention_bias-by-bias_scale-window_size"
    assert [run.config.seed for run in plan.runs] == [run.seed for run in plan.runs]
    assert {run.labels for run in plan.runs} == {("point",)}


def test_a_planned_run_is_what_typing_it_gives(sweep_file: Write) -> None:
    plan = planned(
        sweep_file,
        "variant: attention_bias\ngrid:\n  bias: [aggressive, standard]\n"
        "fixed: {data.augment.drop_camera: 0}\nseeds: [3]\nbaseline: true\n",
    )
    assert len(plan.runs) == 3
    for run in plan.runs:
        typed = load_run(run.variant, [*run.overrides, f"seed={run.seed}"])
        assert with_data_identity(typed) == run.config
        assert run_name(run.config) == run.name


def test_zipped_lists_move_together_within_the_grid(sweep_file: Write) -> None:
    text = (
        "variant: attention_bias\ngrid:\n  schedule.epochs: [1, 2]\n"
        "zip:\n  bias_scale: [1, 2]\n  window_size: [5, 8]\n"
    )
    assert lines(planned(sweep_file, text)) == [
        f"attention_bias schedule.epochs={epochs} bias_scale={scale} window_size={size} seed=0"
        for epochs, (scale, size) in itertools.product((1, 2), ((1, 5), (2, 8)))
    ]


def test_points_stand_beside_the_grid_and_win_over_what_is_fixed(sweep_file: Write) -> None:
    text = (
        "variant: attention_bias\nfixed:\n  schedule.epochs: 9\ngrid:\n  bias_scale: [1]\n"
        "points:\n  - {schedule.epochs: 2}\n  - {variant: renderer_modulator}\n"
    )
    assert lines(planned(sweep_file, text)) == [
        "attention_bias schedule.epochs=9 bias_scale=1 seed=0",
        "attention_bias schedule.epochs=2 seed=0",
        "renderer_modulator schedule.epochs=9 seed=0",
    ]


def test_equal_runs_collapse_by_identity_and_a_scale_of_zero_is_no_baseline(
    sweep_file: Write,
) -> None:
    text = (
        "variant: attention_bias\nfixed: {learnable_scale: false}\nbaseline: true\npoints:\n"
        "  - {bias_scale: 0}\n  - {variant.bias.scale.start: 0.0}\n"
        "  - {bias_scale: 0, launcher.threads: 1}\n"
    )
    plan = planned(sweep_file, text)
    assert lines(plan) == [
        "baseline seed=0",
        "attention_bias learnable_scale=false bias_scale=0 seed=0",
        # A baseline of its own was planned for the third point, and is the first one's run.
    ]
    assert plan.collapsed == 2
    assert [run.labels for run in plan.runs] == [("baseline",), ("point",)]


def test_variants_that_lack_a_part_are_swept_over_the_rest(sweep_file: Write) -> None:
    text = (
        "variant: [baseline, attention_bias]\ngrid:\n  bias_scale: [1, 2]\nbaseline: true\n"
        "seeds: [0, 1]\n"
    )
    plan = planned(sweep_file, text)
    assert lines(plan) == [
        line
        for seed in (0, 1)
        for line in (
            f"baseline seed={seed}",
            f"attention_bias bias_scale=1 seed={seed}",
            f"attention_bias bias_scale=2 seed={seed}",
        )
    ]
    assert plan.runs[0].labels == ("baseline", "point")
    assert plan.collapsed == 2


def test_every_setting_brings_its_own_baseline(sweep_file: Write) -> None:
    text = (
        "variant: attention_bias\ngrid:\n  schedule.epochs: [1, 2]\n  bias_scale: [1, 2]\n"
        "baseline: {schedule.learning_rate: 1e-3}\n"
    )
    baselines = [line for line in lines(planned(sweep_file, text)) if "baseline" in line]
    assert baselines == [
        f"baseline schedule.epochs={epochs} schedule.learning_rate=0.001 seed=0"
        for epochs in (1, 2)
    ]


def test_what_baselines_change_wins_over_their_points(sweep_file: Write) -> None:
    text = (
        "variant: attention_bias\ngrid:\n  schedule.epochs: [1, 2]\n"
        "baseline: {schedule.epochs: 5}\n"
    )
    assert lines(planned(sweep_file, text))[0] == "baseline schedule.epochs=5 seed=0"
    assert len(lines(planned(sweep_file, text))) == 3


def test_conditions_leave_points_and_seeds_out_before_they_are_checked(sweep_file: Write) -> None:
    text = (
        "variant: attention_bias\ngrid:\n  bias_scale: [0, 2]\n  learnable_scale: [true, false]\n"
        "skip:\n  - learnable_scale and bias_scale == 0\n  - not learnable_scale and seed > 0\n"
        "seeds: [0, 1]\n"
    )
    plan = planned(sweep_file, text)
    assert lines(plan) == [
        "attention_bias bias_scale=0 learnable_scale=false seed=0",
        "attention_bias bias_scale=2 learnable_scale=true seed=0",
        "attention_bias bias_scale=2 learnable_scale=false seed=0",
        "attention_bias bias_scale=2 learnable_scale=true seed=1",
    ]
    assert plan.skipped == 4


@pytest.mark.parametrize(
    ("condition", "kept"),
    [
        ("bias == 'aggressive'", ["conservative"]),
        ("variant.bias.max_bias > 5", ["conservative"]),
        ("variant.bias.max_bias > 5 or model != 'cmt_tiny'", ["conservative"]),
        ("variant == 'baseline'", ["conservative", "aggressive"]),
        ("variant.renderer.sigma_cells > 0", ["conservative", "aggressive"]),
        ("window_size == 8", ["conservative", "aggressive"]),
    ],
)
def test_conditions_see_the_effective_configuration(
    sweep_file: Write, condition: str, kept: list[str]
) -> None:
    text = (
        f"variant: attention_bias\ngrid:\n  bias: [conservative, aggressive]\nskip: {condition}\n"
    )
    assert [run.overrides[0] for run in planned(sweep_file, text).runs] == [
        f"bias={name}" for name in kept
    ]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("variant: attention_bias\ngrid:\n  bias_scale: [2,\n    8]\n",
         ("x.yaml:4: bias_scale=8: a learnable scale starts within its bounds, from 0.5 to 5 "
         "(learnable_scale=false fixes it)")),
        ("variant: attention_bias\nfixed:\n  bias_scale: two\n",
         "x.yaml:3: bias_scale='two': must be a number from 0 to 100"),
        ("variant: attention_bias\nfixed:\n  variant.renderer.sigma_cells: 2\n",
         ("x.yaml:3: variant.renderer.sigma_cells: no variant of this sweep has it "
         "(attention_bias)")),
        ("variant: baseline\npoints:\n  - {variant: baseline, bias_scale: 2}\n",
         ("x.yaml:3: bias_scale: variant 'baseline' has no bias (variants that have: "
         "attention_bias)")),
        ("variant: attention_bias\npoints:\n  - bias_scale: 1\n    variant.bias.scale.start: 2\n",
         "x.yaml:4: 'variant.bias.scale.start' is given twice (bias_scale sets it too)"),
        ("variant: baseline\nskip: seed >= 0\n", ("my 'sweep'; echo: every point is skipped: no run "
         "is left")),
        ("variant: baseline\nskip: variant > 1\n", ("x.yaml:2: condition 'variant > 1': 'baseline' "
         "and 1 cannot be compared: they differ in kind")),
        ("variant: baseline\nseeds: range(100000)\ngrid: {schedule.epochs: [1, 2]}\n",
         "my 'sweep'; echo: names 200000 runs: at most 100000"),
    ],
)  # fmt: skip
def test_a_faulty_point_is_named_with_its_line(sweep_file: Write, text: str, fault: str) -> None:
    with pytest.raises(RequestError) as refused:
        planned(sweep_file, text)
    assert str(refused.value) == fault


def test_many_faults_are_cut_short() -> None:
    typed = ["bias_scale=range(1000,1100)"]
    with pytest.raises(RequestError) as refused:
        plan_sweep(sweep_request("attention_bias", typed))
    faults = str(refused.value).splitlines()
    assert len(faults) == 21
    assert faults[0] == "bias_scale=1000: must be a number from 0 to 100"
    assert faults[20] == "attention_bias-by-bias_scale: and 80 more faults"


def test_without_data_the_remedy_is_named(data: Path) -> None:
    data.unlink()
    with pytest.raises(RequestError, match=r"no data set there: make it with `aqr-exp data synth"):
        plan_sweep(sweep_request("baseline"))


VALUES = st.lists(st.sampled_from([1, 2, 2.0, 2.5, 3]), min_size=1, max_size=3)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(VALUES, st.lists(st.sampled_from([5, 8]), min_size=1, max_size=3), st.booleans())
def test_a_plan_holds_every_distinct_run_once(
    scales: Sequence[float], sizes: Sequence[int], twice: bool
) -> None:
    typed = [f"bias_scale={','.join(map(str, scales))}", f"window_size={','.join(map(str, sizes))}"]
    plan = plan_sweep(sweep_request("attention_bias", [*typed, "seed=0,1" if twice else "seed=0"]))
    distinct = {(scale, size) for scale in scales for size in sizes}
    seeds = 2 if twice else 1
    assert len({run.name for run in plan.runs}) == len(plan.runs) == len(distinct) * seeds
    assert plan.collapsed == len(scales) * len(sizes) * seeds - len(plan.runs)
    found = {
        (run.config.variant.bias.scale.start, run.config.variant.bias.window.bev)
        for run in plan.runs
    }
    assert found == distinct
