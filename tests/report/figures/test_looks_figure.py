"""The picture of a sweep until decided: its artists against its decisions."""

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from made_up_runs import MadeUpStore
from matplotlib.axes import Axes
from scipy import stats

from aqr_exp.cli.main import main
from aqr_exp.report.figures.looks_figure import looks_figure
from aqr_exp.statistics.sequential import next_decision
from aqr_exp.store.collect import collect
from aqr_exp.store.decisions import Decided, Design, read_decided, write_once

# Points of mAP above the baseline's.
LEADS = {"bias_scale=1": 0.0, "bias_scale=2": 0.4, "bias_scale=5": 4.0}
NOISE = (0.2, -0.25, 0.1, -0.15, 0.3, -0.2)
SWEEP = "mine"


def decide(
    store: MadeUpStore, looks: int, leads: dict[str, float] = LEADS, name: str = SWEEP
) -> Decided:
    """A sweep with so many looks, over runs that are in the store."""
    values, arms = {}, []
    for at, (typed, lead) in enumerate({"": 0.0, **leads}.items()):
        words = ["learnable_scale=false", typed] if typed else []
        variant = "attention_bias" if typed else "baseline"
        for seed, noise in enumerate(NOISE[at:] + NOISE[:at]):
            run = store.add(variant, words, seed, mAP=0.3 + (lead + noise) / 100)
            values[run.name] = 0.3 + (lead + noise) / 100
        arms.append(run.name.rpartition("-s")[0])
    sweep = store.sweep(name)
    sweep.path.mkdir(parents=True)
    design = Design(
        sweep=name,
        written="2026-01-01",
        primary="mAP",
        sesoi=0.5,
        start=3,
        seeds=tuple(range(len(NOISE))),
        reference=arms[0],
        arms=tuple(arms[1:]),
    )
    write_once(sweep, design)
    sweep.write_plan([], "a file", "mAP", ())
    for _ in range(looks):
        found = read_decided(sweep)
        assert found is not None
        if found.look is None:
            break
        write_once(sweep, next_decision(found, {run: values[run] for run in found.due()}, {}, {}))
    found = read_decided(sweep)
    assert found is not None
    return found


def lines(axes: Axes, label: str) -> list[np.ndarray]:
    return [line.get_xydata() for line in axes.lines if line.get_label() == label]


def texts(panels: Sequence[Axes]) -> list[str]:
    return [" ".join(axes.get_title(loc="left").split()) for axes in panels]


def test_each_arm_is_a_panel_with_the_numbers_of_the_decisions(made_up: MadeUpStore) -> None:
    decided = decide(made_up, 3)
    assert [one.look for one in decided.decisions] == [3, 4, 5]
    figure = looks_figure(decided, collect(made_up))
    assert texts(figure.axes)[1:] == [
        "attention_bias bias_scale=2 goes on after 5 of 6 seeds",
        "attention_bias bias_scale=5 better after 3 seeds",
    ]
    for axes, arm in zip(figure.axes, decided.design.arms, strict=True):
        looks = [each.arms[arm] for each in decided.decisions if each.arms[arm].look == each.look]
        (difference,) = lines(axes, "difference")
        np.testing.assert_allclose(difference, [(one.look, 100 * one.mean) for one in looks])
        beyond = [stats.t.isf(one.level / 2, one.degrees) * one.sd * 100 for one in looks]
        above, below = lines(axes, "better or worse beyond")
        np.testing.assert_allclose(above[:, 1], beyond)
        np.testing.assert_allclose(below[:, 1], [-one for one in beyond])
        within = [(one.look, 0.5 - 100 * one.sd * stats.t.ppf(0.98, one.degrees)) for one in looks]
        small = [each for each in within if each[1] > 0]
        futile = lines(axes, "out within (futility)")
        assert len(futile) == (2 if small else 0)
        if small:
            np.testing.assert_allclose(futile[0], small)
        last = decided.arms[arm]
        ring = [each.tolist() for each in lines(axes, "decided")]
        assert bool(ring) == last.out
        if ring:
            np.testing.assert_allclose(ring, [[[last.look, 100 * last.mean]]])
        assert lines(axes, "smallest effect of interest, ±0.5 points")[1][0, 1] == -0.5
        assert axes.get_xlim() == (2.5, 6.5)
        low, high = axes.get_ylim()
        assert low == -high
        assert high > np.abs(difference[:, 1]).max()
    # The second arm went on while the third got no more seeds, and the reference with it.
    assert len(lines(figure.axes[1], "difference")[0]) == 3
    assert len(lines(figure.axes[2], "difference")[0]) == 1
    assert figure.get_supylabel() == "mAP (points): difference to baseline"
    assert figure.get_suptitle() == "SYNTHETIC data, not comparable with nuScenes"


def test_what_was_found_lies_beyond_its_bound_and_what_goes_on_within(made_up: MadeUpStore) -> None:
    leads = {f"bias_scale={at}": lead for at, lead in enumerate((0, 0.3, 0.6, 1, -2), start=1)}
    decided = decide(made_up, 9, leads)
    figure = looks_figure(decided, collect(made_up), width_in=3.4)
    counted = 0
    for axes, arm in zip(figure.axes, decided.design.arms, strict=False):
        (difference,), (beyond, _) = (
            lines(axes, "difference"),
            lines(axes, "better or worse beyond"),
        )
        found = decided.arms[arm].word in {"better", "worse"}
        outside = np.abs(difference[:, 1]) >= beyond[:, 1]
        assert outside.tolist() == [False] * (len(outside) - 1) + [found]
        counted += found
    assert counted >= 1
    # Five panels in three rows of two: the last place stays empty.
    assert [axes.get_visible() for axes in figure.axes] == [True] * 5 + [False]


def test_arms_without_runs_keep_their_names(made_up: MadeUpStore) -> None:
    decided = decide(made_up, 1)
    figure = looks_figure(decided, [])
    for text, arm in zip(texts(figure.axes), decided.design.arms, strict=True):
        assert text.startswith(arm)


def test_hostile_texts_are_drawn_harmless(
    made_up: MadeUpStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    decide(made_up, 2, name="it's; echo $HOME")
    for folder in made_up:
        record = {**folder.read_record(), "overrides": ["a=$x_{\x1b\n" + "y" * 9000]}
        folder.write_json(folder.record_path, record)
    monkeypatch.setenv("AQR_EXP_RESULTS", str(made_up.root))
    assert main(["plot", "looks", "it's; echo $HOME"]) == 0
    out, err = capsys.readouterr()
    name = "looks-it_s__echo__HOME"
    assert out.splitlines() == [
        str(made_up.root / "figures" / f"{name}.{form}") for form in ("pdf", "png")
    ]
    assert not [mark for mark in out + err if not mark.isprintable() and mark != "\n"]
    assert "goes on: +0." in err
    assert "next look at 5 of 6 seeds" in err


def test_what_has_no_look_is_one_line(
    made_up: MadeUpStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    decide(made_up, 0)
    made_up.sweep("other").write_plan([], "a file", "mAP", ())
    monkeypatch.setenv("AQR_EXP_RESULTS", str(made_up.root))
    faults = {
        SWEEP: "sweep 'mine': no look yet: the first follows 3 seeds of each arm",
        "other": "sweep 'other': it has no plan of looks: `aqr-exp sweep FILE --until-decided` makes one",
        "min": "'min': no such sweep was started: did you mean 'mine'?",
        "../runs": "'../runs': no such sweep was started",
        "x" * 5000: "'xxx",
    }
    for (name, fault), more in itertools.product(faults.items(), ([], ["--width", "column"])):
        assert main(["plot", "looks", name, *more]) == 2
        out, err = capsys.readouterr()
        (line,) = err.splitlines()
        assert line.startswith(f"aqr-exp: {fault}")
        assert len(line) <= 200
        assert out == ""
    assert not (made_up.root / "figures").exists()


def test_a_changed_decision_is_not_drawn(
    made_up: MadeUpStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    decide(made_up, 1)
    path = made_up.sweep(SWEEP).decisions_dir / "3" / "decision.json"
    path.write_text(path.read_text().replace("better", "worse"))
    monkeypatch.setenv("AQR_EXP_RESULTS", str(made_up.root))
    assert main(["plot", "looks", SWEEP]) == 1
    assert "damaged" in capsys.readouterr().err
    assert not (made_up.root / "figures").exists()
