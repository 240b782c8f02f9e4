import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_up_runs import MadeUpStore

import aqr_exp.results
from aqr_exp.errors import RequestError


@pytest.fixture
def made_up(tmp_path: Path) -> MadeUpStore:
    """Two seeds of the baseline, two of another arm, a run that failed and a damaged one."""
    store = MadeUpStore(tmp_path / "it's; results")
    counts = {"AP/car": 0.5, "gt/car": 9}
    for seed in (0, 1):
        store.add("baseline", ["preset=quick"], seed, mAP=0.30 + seed / 100, NDS=0.4, **counts)
        typed = ["preset=quick", "bias_scale=3"]
        store.add("attention_bias", typed, seed, mAP=0.32 + seed / 50, NDS=0.4, **counts)
    store.add("attention_bias", ["bias_scale=2"], 0)
    damaged = store.add("attention_bias", ["bias_scale=1"], 0, mAP=0.3)
    damaged.record_path.write_text("{")
    return store


def test_runs_are_rows(made_up: MadeUpStore) -> None:
    frame = aqr_exp.results.load(made_up.root)
    assert frame.index.tolist() == made_up.names()
    assert frame.index.name == "run"
    assert frame.status.value_counts().to_dict() == {"completed": 4, "failed": 1, "damaged": 1}
    done = frame[frame.status == "completed"]
    means = done.groupby("variant").mAP.mean().to_dict()
    assert means == pytest.approx({"attention_bias": 0.33, "baseline": 0.305})
    assert done.seed.tolist() == [0, 1, 0, 1]
    assert done["gt/car"].tolist() == [9.0] * 4
    assert set(done.synthetic) == {True}
    assert set(done.split) == {"synth_val"}
    broken = frame[frame.status == "damaged"].iloc[0]
    assert "is damaged" in broken.reason
    assert pd.isna(broken.seed)
    assert np.isnan(broken.mAP)


def test_configurations_are_columns_when_asked_for(made_up: MadeUpStore) -> None:
    frame = aqr_exp.results.load(str(made_up.root), configuration=True)
    done = frame[frame.status == "completed"]
    scales = done["config.variant.bias.scale.start"]
    assert scales[done.variant == "attention_bias"].tolist() == [3.0, 3.0]
    assert scales[done.variant == "baseline"].isna().all()
    assert "config.schedule.epochs" in frame.columns


def test_no_results_are_an_empty_frame(tmp_path: Path) -> None:
    frame = aqr_exp.results.load(tmp_path / "nothing")
    assert len(frame) == 0
    assert "variant" in frame.columns


def test_the_folder_is_the_command_lines_by_default(
    made_up: MadeUpStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AQR_EXP_RESULTS", str(made_up.root))
    assert len(aqr_exp.results.load()) == 6


def test_the_table_is_that_of_the_command_line(made_up: MadeUpStore) -> None:
    frame = aqr_exp.results.table(made_up.root, metrics=["mAP"])
    by_variant = frame.set_index("variant")
    assert by_variant.loc["attention_bias", "mAP"] == 33.0
    assert by_variant.loc["attention_bias", "mAP difference"] == 2.5
    assert by_variant.loc["baseline", "n"] == 2
    assert frame.attrs["synthetic"] is True
    assert "SYNTHETIC" in frame.attrs["title"]
    assert any("is not finite" in note for note in frame.attrs["notes"])
    classes = aqr_exp.results.table(made_up.root, by="class", where=["bias_scale == 3"])
    assert set(classes["class"]) == {"car"}
    assert set(classes.variant) == {"attention_bias", "baseline"}
    (note,) = [note for note in classes.attrs["notes"] if note.startswith("kept for comparison")]
    assert note.endswith(", which does not meet bias_scale == 3")


def test_a_comparison_is_one_row_a_number(made_up: MadeUpStore) -> None:
    names = made_up.names()
    arm = next(
        name
        for name in names
        if name.startswith("attention") and name.rpartition("-s")[0] + "-s1" in names
    ).rpartition("-s")[0]
    frame = aqr_exp.results.compare("baseline", arm, made_up.root, resamples=100)
    overall = frame[(frame.part == "metric") & (frame.name == "mAP")].iloc[0]
    assert (overall.reference, overall.other) == pytest.approx((0.305, 0.33))
    assert overall.difference == pytest.approx(0.025)
    assert overall.verdict == "undecided"
    assert "2 seeds cannot tell seed noise: run 3 of each arm" in overall.sentence
    assert frame[frame.part == "class"].ground_truth.dropna().tolist() == [9]
    assert (frame.part == "scene").sum() == 0
    assert frame.attrs["configuration"]["variant.name"] == ("baseline", "attention_bias")
    assert any("no match records" in note for note in frame.attrs["notes"])
    one = aqr_exp.results.compare("baseline", arm, made_up.root, by=["metric"], metrics=["NDS"])
    assert one.name.tolist() == ["NDS"]


def test_what_is_unknown_is_named(made_up: MadeUpStore) -> None:
    with pytest.raises(RequestError, match=r"^by: 'clas': did you mean 'class'\? \(available: arm"):
        aqr_exp.results.table(made_up.root, by="clas")
    with pytest.raises(RequestError, match=r"^by: unknown part 'clas' \(available: metric, class"):
        aqr_exp.results.compare("baseline", "attention", made_up.root, by=["clas"])
    with pytest.raises(RequestError, match=r"^no run begins with 'x' \(see `aqr-exp list`\)"):
        aqr_exp.results.compare("baseline", "x", made_up.root)
    with pytest.raises(
        RequestError, match=r"^population: 'vall': did you mean 'val'\? \(available: "
    ):
        aqr_exp.results.table(made_up.root, population="vall")
    with pytest.raises(RequestError, match=r"^sesoi: 0 is not between 0 and 100 points$"):
        aqr_exp.results.compare("baseline", "attention", made_up.root, sesoi=0)


def test_importing_the_results_imports_nothing_heavy() -> None:
    probe = (
        "import sys, aqr_exp.results as r; assert callable(r.compare) and callable(r.table); "
        "print([m for m in ('numpy', 'pandas', 'torch', 'scipy', 'yaml', 'hydra') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True)
    assert result.stdout == "[]\n", result.stderr


def test_the_functions_survive_the_import_of_their_parts(made_up: MadeUpStore) -> None:
    aqr_exp.results.table(made_up.root)
    for name in aqr_exp.results.__all__:
        assert callable(getattr(aqr_exp.results, name))
