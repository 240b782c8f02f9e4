import math

import numpy as np
import pytest
from made_up_runs import MadeUpStore

from aqr_exp.errors import AqrExpError, RequestError
from aqr_exp.report.figures.sweep_figure import sweep_figure
from aqr_exp.report.tables.build import build_table
from aqr_exp.report.tables.request import TableRequest
from aqr_exp.statistics.trend import curve_of
from aqr_exp.store.collect import collect
from aqr_exp.store.sweep_folder import SweepEntry

FIXED = ("preset=quick", "learnable_scale=false")
# The 97.5 % point of Student's t with one degree of freedom, over the square root of two seeds.
HALF_OF_TWO = 12.7062047 / math.sqrt(2)


def sweep(store: MadeUpStore, values: dict[float, tuple[float, ...]], *more: str) -> None:
    for value, metrics in values.items():
        for seed, mean_ap in enumerate(metrics):
            typed = [*FIXED, f"bias_scale={value}", *more]
            store.add("attention_bias", typed, seed, mAP=mean_ap, NDS=0.3)


def test_means_bands_and_the_baseline_are_drawn(made_up: MadeUpStore) -> None:
    sweep(made_up, {1: (0.30, 0.32), 8: (0.33, 0.33), 2.5: (0.35, 0.37)})
    for seed, mean_ap in enumerate((0.28, 0.30)):
        made_up.add("baseline", ["preset=quick"], seed, mAP=mean_ap)
    made_up.add("attention_bias", [*FIXED, "bias_scale=4"], 0)
    figure = sweep_figure(collect(made_up), ["bias_scale"], "mAP", store=made_up)
    (axes,) = figure.axes
    means, *_, baseline, best = axes.lines
    np.testing.assert_allclose(means.get_xdata(), [1, 2.5, 8])
    np.testing.assert_allclose(means.get_ydata(), [31, 36, 33])
    assert means.get_label() == "attention_bias (n = 2)"
    np.testing.assert_allclose(baseline.get_ydata(), [29, 29])
    assert baseline.get_label() == "baseline (n = 2)"
    np.testing.assert_allclose([*best.get_xdata(), *best.get_ydata()], [2.5, 36])
    assert best.get_label() == "best, selected on val"
    # sd of two values is their distance over the square root of 2.
    half = HALF_OF_TWO * 2 / math.sqrt(2)
    bars = axes.collections[0].get_segments()
    np.testing.assert_allclose(bars[0], [[1, 31 - half], [1, 31 + half]], atol=1e-9)
    span = axes.patches[0].get_extents().transformed(axes.transData.inverted())
    np.testing.assert_allclose([span.y0, span.y1], [29 - half, 29 + half], atol=1e-9)
    assert axes.get_xlabel() == "bias_scale"
    assert axes.get_ylabel() == "mAP (points)\nmean, 95 % interval"
    assert not axes.spines["top"].get_visible()
    assert figure.get_suptitle() == "SYNTHETIC data, not comparable with nuScenes"
    (legend,) = figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert names.pop(2).startswith("best near ")
    assert names == [
        "attention_bias (n = 2)",
        "Gaussian process, 95 % band",
        "baseline (n = 2)",
        "best, selected on val",
    ]


def test_the_curve_and_its_best_value_are_those_of_the_table(made_up: MadeUpStore) -> None:
    noise = (-0.002, 0.0, 0.002)
    values = {0.5: 0.30, 2: 0.305, 5: 0.315, 8: 0.31}
    sweep(made_up, {at: tuple(mean + one for one in noise) for at, mean in values.items()})
    for seed, one in enumerate((*noise, 0.006)):
        made_up.add("baseline", ["preset=quick"], seed, mAP=0.3 + one)
    for seed in (0, 1):  # of another setting: it tells nothing of this noise
        made_up.add("baseline", ["preset=quick", "schedule.epochs=9"], seed, mAP=0.1 + seed / 2)
    rows = collect(made_up)
    entries = [
        SweepEntry(name=row.name, variant=row.variant, seed=row.seed, overrides=tuple(words))
        for row in rows
        if "epochs=9" not in (words := row.overrides.split())
    ]
    made_up.sweep("scales").add_to_plan(entries)
    (found,) = build_table(made_up, rows, TableRequest(sweep="scales", metrics=["mAP"])).table.sweep
    (axes,) = sweep_figure(rows, ["bias_scale"], "mAP", store=made_up).axes
    means, curve, near, tick, *_ = axes.lines
    assert means.get_linestyle() == "None"
    assert (curve.get_xdata()[0], curve.get_xdata()[-1]) == (0.5, 8)
    best, low, high = found["best"], found["best_low"], found["best_high"]
    at = int(np.argmax(curve.get_ydata()))
    assert curve.get_xdata()[at] == pytest.approx(best)
    assert curve.get_ydata()[at] == pytest.approx(100 * found["best_mean"])
    assert near.get_label() == f"best near {best:.2g} [{low:.2g}, {high:.2g}]"
    np.testing.assert_allclose(near.get_xdata(), [low, high])
    np.testing.assert_allclose(tick.get_xdata(), [best])
    # By the noise of the arms of the setting: 8 degrees of freedom of the values, 3 of the baseline.
    squares = 4 * 2 * 0.2**2 + np.var((-0.2, 0, 0.2, 0.6)) * 4
    expected = curve_of([*values], [100 * mean for mean in values.values()], [squares / 11 / 3] * 4)
    np.testing.assert_allclose(curve.get_ydata(), expected.mean)
    band = axes.collections[1].get_paths()[0].vertices
    for end in (expected.low, expected.high):
        assert np.isclose(band[:, 1][:, None], end).any(axis=0).all()


def test_without_noise_or_values_enough_no_curve_is_made_up(made_up: MadeUpStore) -> None:
    sweep(made_up, {1: (0.30, 0.31, 0.32), 2: (0.32, 0.33, 0.34)})
    (axes,) = sweep_figure(collect(made_up), ["bias_scale"], "mAP", store=made_up).axes
    assert len(axes.lines) == 2
    assert axes.lines[0].get_linestyle() == "-"
    sweep(made_up, {5: (0.30, 0.31, 0.32)})
    (axes,) = sweep_figure(collect(made_up), ["bias_scale"], "mAP", store=made_up).axes
    assert len(axes.lines) == 5


def test_bars_side_by_side_stay_so_by_logarithms(made_up: MadeUpStore) -> None:
    for window in (3, 4, 5, 6):
        for rate in (1e-5, 1e-2):
            typed = [f"schedule.learning_rate={rate}", f"window_size={window}"]
            for seed in (0, 1):
                made_up.add("attention_bias", typed, seed, mAP=0.3 + seed / 100)
    key = "schedule.learning_rate"
    (axes,) = sweep_figure(collect(made_up), [key], "mAP", store=made_up).axes
    assert axes.get_xscale() == "log"
    first = [float(line.get_xdata()[0]) for line in axes.lines[:4]]
    last = [float(line.get_xdata()[1]) for line in axes.lines[:4]]
    steps = 1000 ** (0.012 * np.array([-1.5, -0.5, 0.5, 1.5]))
    np.testing.assert_allclose(first, 1e-5 * steps)
    np.testing.assert_allclose(last, 1e-2 * steps)


def test_one_seed_has_no_band_and_real_data_no_mark(made_up: MadeUpStore) -> None:
    sweep(made_up, {1: (0.3,), 2: (0.2,)})
    for folder in made_up:
        folder.write_metrics({**folder.read_metrics(), "synthetic": False})
    figure = sweep_figure(collect(made_up), ["bias_scale"], "mAP", store=made_up)
    (axes,) = figure.axes
    assert len(axes.collections) == len(axes.patches) == 0
    assert axes.lines[0].get_label() == "attention_bias (n = 1)"
    assert figure.get_suptitle() == ""


def test_of_an_error_the_lowest_is_the_best(made_up: MadeUpStore) -> None:
    for value, error in ((1, 0.5), (2, 0.4), (5, 0.7)):
        typed = [*FIXED, f"bias_scale={value}"]
        made_up.add("attention_bias", typed, 0, mAP=0.3, mATE=error)
    figure = sweep_figure(collect(made_up), ["bias_scale"], "mATE", store=made_up)
    best = figure.axes[0].lines[-1]
    assert (best.get_xdata()[0], best.get_ydata()[0]) == (2, 0.4)
    assert figure.axes[0].get_ylabel().startswith("mATE (m), lower is better")


def test_what_else_differs_makes_curves_of_its_own(made_up: MadeUpStore) -> None:
    sweep(made_up, {1: (0.30,), 2: (0.32,)}, "window_size=5")
    sweep(made_up, {1: (0.34,), 2: (0.36,)}, "window_size=8")
    figure = sweep_figure(collect(made_up), ["bias_scale"], "mAP", store=made_up)
    lines = {line.get_label(): line.get_ydata().tolist() for line in figure.axes[0].lines[:2]}
    assert lines == {"window_size=5 (n = 1)": [30.0, 32.0], "window_size=8 (n = 1)": [34.0, 36.0]}


def test_text_stands_side_by_side_with_bars(made_up: MadeUpStore) -> None:
    for kind, values in (("clamp", (0.3, 0.32)), ("l2", (0.34, 0.36))):
        for seed, mean_ap in enumerate(values):
            typed = ["preset=quick", f"variant.bias.scale.constraint={kind}"]
            made_up.add("attention_bias", typed, seed, mAP=mean_ap)
    key = "variant.bias.scale.constraint"
    (axes,) = sweep_figure(collect(made_up), [key], "mAP", store=made_up).axes
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["clamp", "l2"]
    assert axes.lines[0].get_linestyle() == "None"
    (bars,) = axes.collections
    half = HALF_OF_TWO * 2 / math.sqrt(2)
    np.testing.assert_allclose(
        bars.get_segments(),
        [[[0, 31 - half], [0, 31 + half]], [[1, 35 - half], [1, 35 + half]]],
    )


def test_a_group_is_told_by_what_was_typed(made_up: MadeUpStore) -> None:
    for kind, mean_ap in (("aggressive", 0.3), ("standard", 0.32)):
        made_up.add("attention_bias", [f"bias={kind}"], 0, mAP=mean_ap)
    (axes,) = sweep_figure(collect(made_up), ["bias"], "mAP", store=made_up).axes
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["aggressive", "standard"]
    assert len(axes.lines) == 2


def test_variants_can_be_the_parameter(made_up: MadeUpStore) -> None:
    arms = {"baseline": 0.3, "attention_bias": 0.32, "renderer_modulator": 0.31}
    for variant, mean_ap in arms.items():
        made_up.add(variant, ["preset=quick"], 0, mAP=mean_ap)
    (axes,) = sweep_figure(collect(made_up), ["variant"], "mAP", store=made_up).axes
    assert axes.get_ylabel() == "mAP (points)\nmean, 95 % interval"
    ticks = [tick.get_text() for tick in axes.get_xticklabels()]
    assert ticks == ["attention_bias", "renderer_modulator"]
    labels = {line.get_label(): line.get_ydata() for line in axes.lines}
    np.testing.assert_allclose(labels["mean (n = 1)"], [32, 31])
    np.testing.assert_allclose(labels["baseline (n = 1)"], [30, 30])


def test_two_parameters_make_a_heat_map(made_up: MadeUpStore) -> None:
    values = {(1, 5): (0.30,), (1, 8): (0.32, 0.34), (2, 8): (0.36,)}
    for (scale, window), metrics in values.items():
        for seed, mean_ap in enumerate(metrics):
            typed = [*FIXED, f"bias_scale={scale}", f"window_size={window}"]
            made_up.add("attention_bias", typed, seed, mAP=mean_ap)
    made_up.add("baseline", ["preset=quick"], 0, mAP=0.31)
    figure = sweep_figure(collect(made_up), ["bias_scale", "window_size"], "mAP", store=made_up)
    axes, bar = figure.axes
    grid = np.asarray(axes.images[0].get_array().filled(np.nan))
    np.testing.assert_allclose(grid, [[30, 33], [np.nan, 36]])
    assert [text.get_text() for text in axes.texts] == [
        "30.0\nn = 1",
        "33.0\nn = 2",
        "-",
        "36.0\nn = 1",
    ]
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("bias_scale", "window_size")
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["1", "2"]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["5", "8"]
    assert axes.patches[0].get_xy() == (0.5, 0.5)
    assert bar.get_ylabel() == "mAP (points)"
    words = figure.get_supxlabel().splitlines()
    assert words == ["baseline: 31.00, n = 1", "frame: best, selected on val"]


def test_equal_cells_can_be_read(made_up: MadeUpStore) -> None:
    for scale, window in ((1, 5), (2, 8)):
        typed = [*FIXED, f"bias_scale={scale}", f"window_size={window}"]
        made_up.add("attention_bias", typed, 0, mAP=0.3)
    figure = sweep_figure(collect(made_up), ["bias_scale", "window_size"], "mAP", store=made_up)
    image = figure.axes[0].images[0]
    low, high = image.get_clim()
    assert low < 30 < high
    red, green, blue, _ = image.cmap(image.norm(30))
    darkness = 1 - (0.299 * red + 0.587 * green + 0.114 * blue)
    written = [text for text in figure.axes[0].texts if text.get_text() != "-"]
    assert [text.get_color() for text in written] == ["white", "white"]
    assert darkness > 0.4


def test_what_cannot_be_drawn_is_refused(made_up: MadeUpStore) -> None:
    with pytest.raises(RequestError, match=r"^no completed run to draw: `aqr-exp list` shows"):
        sweep_figure([], ["bias_scale"], "mAP", store=made_up)
    sweep(made_up, {1: (0.3,)})
    rows = collect(made_up)
    with pytest.raises(
        RequestError, match=r"^no run has the parameter 'bias_scael': did you mean 'b"
    ):
        sweep_figure(rows, ["bias_scael"], "mAP", store=made_up)
    with pytest.raises(RequestError, match=r"^unknown metric 'map': did you mean 'mAP'\? "):
        sweep_figure(rows, ["bias_scale"], "map", store=made_up)
    with pytest.raises(
        RequestError, match=r"^a sweep is drawn over one or two .* not over 3 \(a, b, c"
    ):
        sweep_figure(rows, ["a", "b", "c"], "mAP", store=made_up)
    folder = next(iter(made_up))
    folder.spec_path.write_text("{")
    with pytest.raises(AqrExpError, match=r"spec\.yaml is damaged: "):
        sweep_figure(rows, ["bias_scale"], "mAP", store=made_up)


def test_too_many_curves_are_refused(made_up: MadeUpStore) -> None:
    for window in range(3, 16):
        sweep(made_up, {1: (0.3,)}, f"window_size={window}")
    with pytest.raises(
        RequestError,
        match=r"differ in more than bias_scale \(window_size\).* 13 curves, at most 12",
    ):
        sweep_figure(collect(made_up), ["bias_scale"], "mAP", store=made_up)
