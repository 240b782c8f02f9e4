"""The forest plot: its artists against the table's numbers."""

import warnings

import numpy as np
import pytest
from made_up_runs import MadeUpStore
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from aqr_exp.cli.main import main
from aqr_exp.errors import RequestError
from aqr_exp.report.figures.differences_figure import differences_figure
from aqr_exp.report.tables.build import Built, build_table
from aqr_exp.report.tables.request import TableRequest
from aqr_exp.store.collect import collect

SCALES = ("learnable_scale=false", "variant.bias.max_bias=10")
VALUES = {2: (0.31, 0.312, 0.314), 10: (0.296, 0.303, 0.3), 7.5: (0.28, 0.284, 0.282)}
BASELINE = (0.298, 0.3, 0.302, 0.3)


@pytest.fixture
def arms(made_up: MadeUpStore) -> MadeUpStore:
    for seed, value in enumerate(BASELINE):
        made_up.add("baseline", [], seed, mAP=value, NDS=0.2)
    for scale, values in VALUES.items():
        for seed, value in enumerate(values):
            made_up.add("attention_bias", [*SCALES, f"bias_scale={scale}"], seed, mAP=value)
    return made_up


def drawn(store: MadeUpStore, metric: str = "mAP", **request: object) -> tuple[Figure, Built]:
    asked = TableRequest(metrics=[metric], **request)  # type: ignore[arg-type]
    built = build_table(store, collect(store), asked)
    return differences_figure(built.data, metric), built


def rows_of(figure: Figure) -> list[str]:
    return [tick.get_text() for tick in figure.axes[0].get_yticklabels()]


def lines_of(figure: Figure, *labels: str) -> list[list[float]]:
    found = [line for line in figure.axes[0].lines if line.get_label() in labels]
    return [list(map(float, line.get_xdata())) for line in found]


def test_each_arm_is_a_row_with_the_numbers_of_the_table(arms: MadeUpStore) -> None:
    figure, built = drawn(arms)
    found = {
        arm.first.overrides.rpartition("=")[2]: arm.estimates.differences["mAP"]
        for arm in built.data.arms
        if arm.match.group
    }
    assert {scale: one.word for scale, one in found.items()} == {
        "2": "better",
        "7.5": "worse",
        "10": "undecided",
    }
    ordered = [found["2"], found["7.5"], found["10"]]
    # The least that tells them apart, numbers by their size; what all of them share is left out.
    assert rows_of(figure) == [f"attention_bias bias_scale={x}\nn = 3" for x in ("2", "7.5", "10")]
    axes = figure.axes[0]
    bars = [bar.get_segments()[0] for bar in axes.collections]
    np.testing.assert_allclose(
        bars, [[[100 * one.low, at], [100 * one.high, at]] for at, one in enumerate(ordered)]
    )
    marks = lines_of(figure, "better or worse", "not shown to differ")
    np.testing.assert_allclose(marks, [[100 * one.mean] for one in ordered])
    filled = [one for one in axes.lines if one.get_label() == "better or worse"]
    assert [float(one.get_ydata()[0]) for one in filled] == [0, 1]
    assert {one.get_markerfacecolor() for one in filled} == {"#0072B2"}
    # Each seed less the mean of the baseline, which is 30 points.
    np.testing.assert_allclose(
        lines_of(figure, "one seed"), [[1, 1.2, 1.4], [-2, -1.6, -1.8], [-0.4, 0.3, 0]], atol=1e-9
    )
    shaded = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    np.testing.assert_allclose(
        [(one.get_x(), one.get_width()) for one in shaded],
        [(-100 * one.mde, 200 * one.mde) for one in ordered],
    )
    assert lines_of(figure, "smallest effect of interest, ±0.5 points")[0] == [-0.5, -0.5]
    one = found["10"]
    assert axes.texts[2].get_text() == (
        f"{100 * one.mean:+.2f} [{100 * one.low:+.2f}, {100 * one.high:+.2f}]\nundecided"
    )
    assert axes.get_xlabel() == "mAP (points): difference to baseline (n = 4)"
    assert figure.get_suptitle() == "SYNTHETIC data, not comparable with nuScenes"
    # The first row is on top.
    assert axes.get_ylim() == (2.5, -0.5)


def test_the_question_changes_what_is_drawn(arms: MadeUpStore) -> None:
    figure, _ = drawn(arms, sesoi_points=3.0)
    assert lines_of(figure, "smallest effect of interest, ±3 points")[1] == [3.0, 3.0]
    words = figure.axes[0].texts[2].get_text().split("\n", 1)[1]
    assert words.replace("\n", " ") == "no difference as large as ±3 points"


def test_of_one_seed_no_interval_is_made_up(made_up: MadeUpStore) -> None:
    made_up.add("baseline", [], 0, mAP=0.3)
    made_up.add("attention_bias", [], 0, mAP=0.32)
    figure, _ = drawn(made_up)
    axes = figure.axes[0]
    assert len(axes.collections) == len(axes.patches) == 0
    np.testing.assert_allclose(lines_of(figure, "not shown to differ"), [[2.0]])
    assert axes.texts[0].get_text() == "+2.00\nundecided"
    assert rows_of(figure) == ["attention_bias\nn = 1"]


def test_what_few_seeds_can_detect_leaves_the_rest_readable(
    made_up: MadeUpStore,
) -> None:
    for seed, noise in enumerate((0.0, 0.001, -0.001)):
        made_up.add("baseline", [], seed, mAP=0.3 + noise)
        made_up.add("renderer_modulator", [], seed, mAP=0.3 + noise)
    made_up.add("attention_bias", [], 0, mAP=0.301)
    figure, _ = drawn(made_up)
    low, high = figure.axes[0].get_xlim()
    assert -3 < low < -0.5
    assert 0.5 < high < 3
    assert max(-patch.get_x() for patch in figure.axes[0].patches) <= max(-low, high)


def test_arms_of_several_references_name_theirs(arms: MadeUpStore) -> None:
    longer = ["schedule.epochs=3"]
    for seed, value in enumerate((0.31, 0.32, 0.33)):
        arms.add("baseline", longer, seed, mAP=value)
        arms.add("attention_bias", longer, seed, mAP=value + 0.001)
    figure, _ = drawn(arms)
    names = [" ".join(name.split()) for name in rows_of(figure)]
    assert names[-1] == "attention_bias schedule.epochs=3 against baseline schedule.epochs=3 n = 3"
    assert names[0].endswith("bias_scale=2 against baseline n = 3")
    assert figure.axes[0].get_xlabel().endswith("difference to baseline (n = 3 to 4)")
    # Each seed less the mean of its own reference.
    np.testing.assert_allclose(lines_of(figure, "one seed")[-1], [-0.9, 0.1, 1.1], atol=1e-9)


def test_two_arms_that_nothing_typed_tells_apart_have_their_identities(
    made_up: MadeUpStore,
) -> None:
    for seed in range(3):
        made_up.add("baseline", [], seed, mAP=0.3 + seed / 1000)
        for scale in (1, 2):
            run = made_up.add("attention_bias", [f"bias_scale={scale}"], seed, mAP=0.3)
            record = {**run.read_record(), "overrides": ["a=$x_{\x1b\n" + "y" * 9000]}
            run.write_json(run.record_path, record)
    figure, built = drawn(made_up)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        figure.canvas.draw()
    names = rows_of(figure)
    assert len(set(names)) == 2
    for name in names:
        assert len(name.splitlines()) <= 5
        assert all(line.isprintable() for line in name.splitlines())
    marks = sorted(arm.first.fingerprint for arm in built.data.arms if arm.match.group)
    assert sorted(name.splitlines()[-2].split()[-1] for name in names) == marks


@pytest.mark.parametrize(
    ("variants", "fault"),
    [
        ((), "no arm with a difference of mAP to a reference to draw"),
        (("baseline",), "no arm with a difference of mAP to a reference to draw"),
        (("attention_bias",), "no arm with a difference of mAP to a reference to draw: "),
    ],
)
def test_a_store_without_a_difference_is_one_line(
    variants: tuple[str, ...],
    fault: str,
    made_up: MadeUpStore,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    made_up.root.mkdir()
    for variant in variants:
        made_up.add(variant, [], 0, mAP=0.3)
    monkeypatch.setenv("AQR_EXP_RESULTS", str(made_up.root))
    assert main(["plot", "differences"]) == 2
    out, err = capsys.readouterr()
    (line,) = err.splitlines()
    assert line.startswith(f"aqr-exp: {fault}")
    assert len(line) <= 200
    assert out == ""
    assert not (made_up.root / "figures").exists()


def test_more_arms_than_fit_on_a_page_are_refused(made_up: MadeUpStore) -> None:
    made_up.add("baseline", [], 0, mAP=0.3)
    for scale in range(1, 42):
        made_up.add("attention_bias", [f"bias_scale={0.5 + scale / 10}"], 0, mAP=0.3)
    with pytest.raises(RequestError, match=r"^41 arms: at most 40 fit on a page: choose them by"):
        drawn(made_up)


def test_the_command_says_what_the_table_says(
    arms: MadeUpStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AQR_EXP_RESULTS", str(arms.root))
    assert main(["plot", "differences", "--where", "bias_scale == 2"]) == 0
    out, err = capsys.readouterr()
    names = [arms.root / "figures" / f"differences-mAP.{form}" for form in ("pdf", "png")]
    assert out.splitlines() == list(map(str, names))
    assert "better: mAP +1.20" in err
    assert main(["plot", "differences", "--metric", "mAPP"]) == 2
    assert "unknown metric 'mAPP': did you mean 'mAP'?" in capsys.readouterr().err
