"""The lines below the table of a sweep over numbers, and their data."""

import itertools
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from made_up_runs import MadeUpStore

from aqr_exp import results
from aqr_exp.cli.main import main
from aqr_exp.report.tables.build import build_table
from aqr_exp.report.tables.cells import Table
from aqr_exp.report.tables.request import TableRequest
from aqr_exp.store.collect import collect
from aqr_exp.store.looks import LOOKS
from aqr_exp.store.sweep_folder import SweepEntry

FIXED = ("learnable_scale=false", "variant.bias.max_bias=10")
SCALES = (0, 2, 5, 10)
CURVE = (0.0, 0.27, 0.67, 0.27)


@pytest.fixture
def made_up(tmp_path: Path) -> MadeUpStore:
    return MadeUpStore(tmp_path / "results")


def add(
    store: MadeUpStore, name: str, points: dict[tuple[str, ...], Sequence[float]], start: int = 0
) -> None:
    """Runs of a sweep, from seed `start` on, that are so many points of mAP above 30."""
    entries = []
    for typed, values in points.items():
        variant = "attention_bias" if typed else "baseline"
        words = [*FIXED, *typed] if typed else []
        for seed, value in enumerate(values, start):
            run = store.add(variant, words, seed, mAP=0.3 + value / 100, NDS=0.4 + seed / 1000)
            entries.append(
                SweepEntry(name=run.name, variant=variant, overrides=tuple(words), seed=seed)
            )
    store.sweep(name).add_to_plan(entries)


def scales(noise: float = 0.1, seeds: int = 3) -> dict[tuple[str, ...], Sequence[float]]:
    rng = np.random.default_rng(0)
    points: dict[tuple[str, ...], Sequence[float]] = {(): rng.normal(0, noise, seeds)}
    for scale, mean in zip(SCALES, CURVE, strict=True):
        points[f"bias_scale={scale}",] = mean + rng.normal(0, noise, seeds)
    return points


def shown(store: MadeUpStore, sweep: str) -> Table:
    return build_table(store, collect(store), TableRequest(sweep=sweep, metrics=["mAP"])).table


def test_the_answer_is_below_the_table(
    made_up: MadeUpStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    add(made_up, "scales", scales())
    table = shown(made_up, "scales")
    first, second = table.notes[:2]
    assert first == (
        "bias_scale: matters for mAP: p < .001 (contrasts over 4 values, 10 degrees of freedom), most "
        "like a peak in the middle"
    )
    (found,) = table.sweep
    best, low, high = found["best"], found["best_low"], found["best_high"]
    assert 0 < low <= best <= high <= 9.5
    assert second == (
        f"bias_scale: best near {best:.2g} [{low:.2g}, {high:.2g}], mAP {100 * found['best_mean']:.2f} "
        "points there, by a Gaussian process; chosen by these very runs: `aqr-exp confirm scales` tells "
        "what it is worth"
    )
    assert (found["parameter"], found["metric"], found["values"]) == ("bias_scale", "mAP", 4)
    assert 0 < found["p"] < 0.001
    assert results.table(made_up.root, sweep="scales").attrs["sweep"] == [found]
    monkeypatch.setenv("AQR_EXP_RESULTS", str(made_up.root))
    assert main(["table", "--sweep", "scales", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["sweep"] == [json.loads(json.dumps(found))]
    # Of runs that are no sweep, and of a metric that it is not judged by, nothing is said.
    assert build_table(made_up, collect(made_up), TableRequest()).table.sweep == ()
    request = TableRequest(sweep="scales", metrics=["NDS"])
    assert build_table(made_up, collect(made_up), request).table.sweep == ()


def test_noise_is_not_shown_to_matter(made_up: MadeUpStore) -> None:
    add(made_up, "scales", scales(noise=3.0))
    table = shown(made_up, "scales")
    (found,), line = table.sweep, table.notes[0]
    assert line.startswith("bias_scale: not shown to matter for mAP: p = .")
    assert line.endswith("degrees of freedom)")
    assert found["best_high"] - found["best_low"] > 5


def test_seeds_that_were_added_after_a_look_make_a_later_one(made_up: MadeUpStore) -> None:
    add(made_up, "scales", scales())
    (before,) = shown(made_up, "scales").sweep
    assert before["look"] == 1
    assert shown(made_up, "scales").sweep[0] == before
    more = {typed: values[3:] for typed, values in scales(seeds=4).items()}
    add(made_up, "scales", more, start=3)
    table = shown(made_up, "scales")
    assert table.sweep[0]["look"] == 2
    assert "degrees of freedom, look 2: valid at any look)" in table.notes[0]


def test_looks_at_a_series_without_a_baseline_are_counted(made_up: MadeUpStore) -> None:
    """Seeds or values that were added since make a later one, and a lost journal does not help."""
    points = {typed: values for typed, values in scales().items() if typed}
    add(made_up, "scales", points)
    (before,) = shown(made_up, "scales").sweep
    assert before["look"] == 1
    assert shown(made_up, "scales").sweep[0] == before
    add(made_up, "scales", {("bias_scale=7",): [0.4, 0.5, 0.6]})
    table = shown(made_up, "scales")
    (wider,) = table.sweep
    assert (wider["look"], wider["values"]) == (2, 5)
    assert "degrees of freedom, look 2: valid at any look)" in table.notes[0]
    assert shown(made_up, "scales").sweep[0] == wider
    add(made_up, "scales", {typed: [values[0]] for typed, values in points.items()}, start=3)
    assert shown(made_up, "scales").sweep[0]["look"] == 3
    shutil.rmtree(made_up.root / LOOKS)
    assert shown(made_up, "scales").sweep[0]["look"] == 3
    # Other values of another parameter are another question.
    window = {(f"window_size={at}",): [0.1 * at, 0.2, 0.3] for at in (6, 8, 10)}
    add(made_up, "windows", window)
    assert shown(made_up, "windows").sweep[0]["look"] == 1


def test_a_look_at_a_series_that_cannot_be_written_down_is_said_once(made_up: MadeUpStore) -> None:
    add(made_up, "scales", {typed: values for typed, values in scales().items() if typed})
    (made_up.root / LOOKS).write_text("a file in the journal's place")
    notes = shown(made_up, "scales").notes
    assert sum("this look could not be written down" in note for note in notes) == 1


def test_one_seed_of_each_cannot_tell(made_up: MadeUpStore) -> None:
    add(made_up, "scales", {(f"bias_scale={at}",): [0.1 * at] for at in (1, 2, 3)})
    table = shown(made_up, "scales")
    assert table.notes[0] == "bias_scale: whether it matters for mAP cannot be told: no seed noise"
    assert "p" not in table.sweep[0]


def test_two_parameters_have_main_effects_an_interaction_and_advice(made_up: MadeUpStore) -> None:
    rng = np.random.default_rng(1)
    points: dict[tuple[str, ...], Sequence[float]] = {(): rng.normal(0, 0.1, 3)}
    for (scale, mean), window in itertools.product(zip((0, 2, 5), CURVE, strict=False), (5, 8, 10)):
        typed = f"bias_scale={scale}", f"window_size={window}"
        points[typed] = mean + rng.normal(0, 0.1, 2)
    add(made_up, "both", points)
    table = shown(made_up, "both")
    scale, window = table.sweep
    assert (scale["parameter"], window["parameter"]) == ("bias_scale", "window_size")
    assert scale["p"] < 0.001
    assert scale["shape"] == "a steady rise"
    assert window["p"] > 0.05
    assert scale["degrees"] == 18 - 5 + 2
    assert window["interaction_p"] > 0.05
    assert table.notes[0].startswith(
        "bias_scale: matters for mAP: p < .001 (contrasts over 3 values"
    )
    assert table.notes[1].startswith("window_size: not shown to matter for mAP: p = ")
    assert table.notes[2].startswith(
        "window_size: its effect is not shown to depend on bias_scale: p = "
    )
    assert table.notes[3] == (
        "the baseline of 9 cells has 3 seeds: 12 of it and one of each cell tell more than as many "
        "of each"
    )


def test_a_value_that_is_no_number_where_it_counts_is_left_out(
    made_up: MadeUpStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`window_size` sets both sides of a window that is not square without it."""
    rng = np.random.default_rng(3)
    points = {(f"window_size={at}",): at / 10 + rng.normal(0, 0.05, 3) for at in (6, 8, 10)}
    add(made_up, "windows", {**points, ("bias_scale=3",): rng.normal(0, 0.05, 3)})
    (found,) = shown(made_up, "windows").sweep
    assert (found["parameter"], found["values"], found["shape"]) == (
        "window_size",
        3,
        "a steady rise",
    )
    # The arm that was left out tells of noise.
    assert found["degrees"] == 4 * 2
    monkeypatch.setenv("AQR_EXP_RESULTS", str(made_up.root))
    assert main(["table", "--sweep", "windows", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["sweep"] == [found]
    # So it is beside a second parameter.
    both = {
        (f"window_size={at}", f"bias_scale={scale}"): at / 10 + rng.normal(0, 0.05, 2)
        for at in (6, 8, 10)
        for scale in (1, 2)
    }
    add(made_up, "both", {**both, ("bias_scale=1.5",): rng.normal(0, 0.05, 2)})
    (found,) = shown(made_up, "both").sweep
    assert (found["parameter"], found["beside"], found["values"]) == (
        "window_size",
        "bias_scale",
        3,
    )
    # Too few that are numbers say nothing.
    two = ("window_size=7",), ("window_size=9",), ("bias_scale=4",)
    add(made_up, "two", {typed: rng.normal(0, 0.05, 3) for typed in two})
    assert shown(made_up, "two").sweep == ()


def test_of_two_that_change_together_the_first_is_answered(made_up: MadeUpStore) -> None:
    rng = np.random.default_rng(4)
    pairs = ((1, 9), (2, 7), (3, 8), (4, 6))
    points = {
        (f"bias_scale={scale}", f"window_size={window}"): scale / 2 + rng.normal(0, 0.05, 3)
        for scale, window in pairs
    }
    add(made_up, "zipped", points)
    table = shown(made_up, "zipped")
    (found,) = table.sweep
    assert table.notes[0].startswith(
        "bias_scale: matters for mAP: p < .001 (contrasts over 4 values"
    )
    assert table.notes[0].endswith("most like a steady rise")
    assert table.notes[1].startswith("bias_scale: best near ")
    assert (
        table.notes[2]
        == "bias_scale: window_size changes together with it: either may be the cause"
    )
    assert (found["beside"], found["tied"], found["degrees"]) == ("window_size", True, 8)
    # It is what the first alone would be.
    alone = {
        (f"bias_scale={scale}",): points[f"bias_scale={scale}", f"window_size={window}"]
        for scale, window in pairs
    }
    add(made_up, "alone", alone)
    (one,) = shown(made_up, "alone").sweep
    assert {key: found[key] for key in one} == one


def test_the_one_that_tells_the_arms_apart_is_answered_and_else_nothing(
    made_up: MadeUpStore,
) -> None:
    rng = np.random.default_rng(4)
    pairs = ((1, 9), (2, 9), (3, 8), (4, 8))
    points = {
        (f"window_size={window}", f"bias_scale={scale}"): scale / 2 + rng.normal(0, 0.05, 3)
        for scale, window in pairs
    }
    add(made_up, "nested", points)
    (found,) = shown(made_up, "nested").sweep
    assert (found["parameter"], found["values"], found["tied"]) == ("bias_scale", 4, True)
    # Neither does here, and there is noise to judge by.
    pairs = ((5, 9), (6, 9), (5, 8), (6, 8), (7, 7))
    apart = {
        (f"bias_scale={scale}", f"window_size={window}"): rng.normal(0, 0.05, 3)
        for scale, window in pairs
    }
    add(made_up, "apart", apart)
    assert shown(made_up, "apart").notes[:2] == (
        "bias_scale: whether it matters for mAP cannot be told: it changes together with window_size",
        "window_size: whether it matters for mAP cannot be told: it changes together with bias_scale",
    )


@pytest.mark.parametrize("baseline", [True, False])
def test_beside_a_parameter_of_two_values_nothing_is_lost(
    made_up: MadeUpStore, *, baseline: bool
) -> None:
    """The interaction, and advice on the baseline's seeds, which no other arm stands in for."""
    rng = np.random.default_rng(5)
    points: dict[tuple[str, ...], Sequence[float]] = {
        (f"bias_scale={scale}", f"window_size={window}", *kind): scale * (window == 8)
        + rng.normal(0, 0.05, 2)
        for scale in (1, 2, 3)
        for window in (6, 8)
        for kind in ([], ["variant.bias.scale.constraint=l2"])
    }
    if baseline:
        points[()] = rng.normal(0, 0.05, 3)
    add(made_up, "both", points)
    table = shown(made_up, "both")
    assert [one["parameter"] for one in table.sweep] == ["bias_scale", "bias_scale"]
    assert all(one["interaction_p"] < 0.001 for one in table.sweep)
    assert sum("its effect depends on window_size: p < .001" in one for one in table.notes) == 2
    advice = [one for one in table.notes if one.startswith("the baseline of")]
    line = (
        "the baseline of 6 cells has 3 seeds: 12 of it and one of each cell tell more than as many"
    )
    assert advice == [f"{line} of each"] * baseline  # of both series the same, and said once


def test_words_and_searches_have_no_such_answer(made_up: MadeUpStore) -> None:
    kinds = ("clamp", "l2", "sigmoid")
    rng = np.random.default_rng(1)
    points = {(f"variant.bias.scale.constraint={kind}",): rng.normal(0, 1, 3) for kind in kinds}
    add(made_up, "kinds", points)
    assert shown(made_up, "kinds").sweep == ()
    add(made_up, "scales", scales())
    made_up.sweep("scales").study_path.write_text("")
    assert shown(made_up, "scales").sweep == ()


def test_what_differs_besides_is_answered_apart(made_up: MadeUpStore) -> None:
    rng = np.random.default_rng(2)
    points = {
        (f"bias_scale={scale}", f"variant.bias.scale.constraint={kind}"): rng.normal(0, 0.1, 3)
        for scale in (1, 2, 3)
        for kind in ("clamp", "l2")
    }
    add(made_up, "several", points)
    found = shown(made_up, "several").sweep
    assert [one["of"] for one in found] == [
        "variant.bias.scale.constraint=clamp",
        "variant.bias.scale.constraint=l2",
    ]


def test_a_damaged_run_and_seeds_that_do_not_differ_leave_the_table(made_up: MadeUpStore) -> None:
    add(made_up, "scales", {(f"bias_scale={at}",): [0.1 * at] * 3 for at in (1, 2, 3)})
    assert shown(made_up, "scales").notes[0].endswith("cannot be told: no seed noise")
    for entry in made_up.sweep("scales").read_plan()[:3]:
        made_up.folder(entry.name).spec_path.write_text("{")
    table = shown(made_up, "scales")
    assert table.sweep == ()
    assert any("spec.yaml" in note for note in table.notes)


def test_of_an_error_the_lowest_is_the_best(made_up: MadeUpStore) -> None:
    rng = np.random.default_rng(0)
    entries = []
    for scale, mean in zip(SCALES, CURVE, strict=True):
        typed = (*FIXED, f"bias_scale={scale}")
        for seed in range(3):
            error = 0.7 - mean / 10 + rng.normal(0, 0.002)
            run = made_up.add("attention_bias", typed, seed, mAP=0.3, NDS=0.4, mATE=error)
            entries.append(
                SweepEntry(name=run.name, variant="attention_bias", overrides=typed, seed=seed)
            )
    made_up.sweep("errors").write_plan(entries, primary="mATE")
    request = TableRequest(sweep="errors", metrics=["mATE"])
    table = build_table(made_up, collect(made_up), request).table
    (found,) = table.sweep
    assert found["shape"] == "a late dip"
    assert 3 < found["best"] < 8
    assert found["best_mean"] == pytest.approx(0.633, abs=0.01)
    assert f"mATE {found['best_mean']:.4g} m there" in table.notes[1]
