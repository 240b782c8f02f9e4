"""Verdicts on arms that have grown since they were first shown."""

import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from made_up_runs import MadeUpStore
from scipy import integrate, stats

from aqr_exp.report.compare.comparison import METRIC, Request, compare_two
from aqr_exp.report.tables.build import build_table
from aqr_exp.report.tables.request import TableRequest
from aqr_exp.statistics.differences import compare_arms
from aqr_exp.statistics.rule import PRIOR_EFFECT, anytime_bound, evidence
from aqr_exp.statistics.verdicts import ArmDifference
from aqr_exp.store.collect import collect
from aqr_exp.store.looks import LOOKS, Looks

VARIANTS = ("baseline", "attention_bias")
NOISE = (0.0, 0.003, -0.002, 0.001, -0.003, 0.002, 0.0, 0.001)


@pytest.fixture
def store(tmp_path: Path) -> MadeUpStore:
    return MadeUpStore(tmp_path / 'it\'s "here"; echo $HOME')


def add(store: MadeUpStore, seeds: range, lead: float = 0.01) -> None:
    for seed in seeds:
        store.add("baseline", [], seed, mAP=0.3 + NOISE[seed], NDS=0.3 + NOISE[-seed])
        store.add("attention_bias", [], seed, mAP=0.3 + lead + NOISE[-seed], NDS=0.3 - NOISE[seed])


def shown(store: MadeUpStore, **request: object) -> ArmDifference:
    built = build_table(store, collect(store), TableRequest(**request))  # type: ignore[arg-type]
    (found,) = [arm.estimates.differences["mAP"] for arm in built.data.arms if arm.match.group]
    return found


def test_the_evidence_is_the_bayes_factor_of_the_t_statistic():
    """Against the integral of the noncentral t over the prior of the effect."""
    for t, degrees, size in ((0.5, 4, 1.5), (3.0, 4, 1.5), (2.5, 17, 4.0), (6.0, 9, 2.5)):

        def weighted(
            effect: float, t: float = t, degrees: int = degrees, size: float = size
        ) -> float:
            prior = stats.norm.pdf(effect, scale=PRIOR_EFFECT)
            return float(stats.nct.pdf(t, degrees, effect * size**0.5) * prior)

        above, _ = integrate.quad(weighted, -15, 15, limit=400)
        expected = math.log(above / stats.t.pdf(t, degrees))
        assert evidence(t**2, degrees, size) == pytest.approx(expected, abs=1e-5)


def test_the_bound_is_where_the_evidence_is_enough():
    for level, degrees, size in ((0.02, 8, 2.5), (0.005, 20, 3.0), (0.02, 40, 5.0)):
        bound = anytime_bound(level, degrees, size)
        assert evidence(bound**2, degrees, size) == pytest.approx(-math.log(level))
    # Three seeds of two arms: no difference is ever large enough.
    assert anytime_bound(0.02, 4, 1.5) == math.inf
    assert evidence(1e12, 4, 1.5) < -math.log(0.02)


def test_seeds_that_are_added_after_a_look_are_judged_as_a_later_look(store: MadeUpStore):
    add(store, range(4))
    first = shown(store)
    assert (first.word, first.look) == ("better", 1)
    assert shown(store) == first
    add(store, range(4, 5))
    then = shown(store)
    assert then.look == 2
    rows = {name: [row for row in collect(store) if row.variant == name] for name in VARIANTS}
    values = [np.array([row.metric("mAP") for row in rows[name]]) for name in VARIANTS]
    s2 = (values[0].var(ddof=1) + values[1].var(ddof=1)) / 2
    t2 = (values[1].mean() - values[0].mean()) ** 2 * 2.5 / s2
    p = math.exp(-evidence(t2, 8, 2.5)) / 0.4
    assert then.p == pytest.approx(max(p, stats.ttest_ind(*values, equal_var=False).pvalue))
    half = anytime_bound(0.02, 8, 2.5) * (s2 / 2.5) ** 0.5
    assert then.high == pytest.approx(then.mean + half)
    assert "; look 2 at these arms: valid at any look" in then.sentence
    # What was shown at first is what it was.
    assert shown(store, where=["seed < 4"]).look == 1


def test_a_journal_that_was_deleted_makes_no_verdict_stronger(store: MadeUpStore):
    add(store, range(3), lead=0.004)
    first = shown(store)
    assert (first.word, first.look) == ("undecided", 1)
    add(store, range(3, 5), lead=0.008)
    then = shown(store)
    assert then.look == 2
    for _ in range(2):  # and stays so when it is written anew
        shutil.rmtree(store.root / LOOKS)
        assert shown(store) == then
        assert shown(store) == then


def test_a_run_in_hand_during_a_look_tells_of_it(store: MadeUpStore):
    """It was begun before, and ends after: as with `sweep` while somebody looks."""
    add(store, range(3))
    folder = store.add("attention_bias", [], 3)
    assert shown(store).look == 1
    folder.write_metrics({"mAP": 0.31, "NDS": 0.3, "split": "synth_val", "synthetic": True})
    folder.write_state("completed")
    shutil.rmtree(store.root / LOOKS)
    assert shown(store).look == 2


@pytest.mark.parametrize("way", ["compare", "another metric", "one metric"])
def test_every_way_of_looking_counts(store: MadeUpStore, way: str):
    add(store, range(3))
    rows = [[row for row in collect(store) if row.variant == name] for name in VARIANTS]
    if way == "compare":
        compare_two(*rows, store=store, request=Request(parts=(METRIC,)))
    else:
        metrics = ["NDS" if way == "another metric" else "mAP"]
        build_table(store, collect(store), TableRequest(metrics=metrics))
    add(store, range(3, 5))
    assert shown(store).look == 2


def test_a_look_before_the_planned_seeds_leaves_the_first_one_to_them(store: MadeUpStore):
    add(store, range(5))
    rows = [[row for row in collect(store) if row.variant == name] for name in VARIANTS]
    planned = [row.name for arm in rows for row in arm]
    early = [arm[:3] for arm in rows]
    assert Looks(store.root, planned).number(*early) == 2
    assert Looks(store.root, planned).record(*early) == ""
    assert Looks(store.root, planned).number(*early) == 2
    assert Looks(store.root, planned).number(*rows) == 1
    # A plan that is changed after the look does not take its place.
    assert (
        Looks(store.root, [name for arm in early for name in (r.name for r in arm)]).number(*early)
        == 2
    )
    assert Looks(store.root).number(*(arm[:4] for arm in rows)) == 3


def test_an_arm_that_did_not_change_is_not_looked_at_again(store: MadeUpStore):
    add(store, range(3))
    shown(store)
    for seed in range(3):
        store.add("renderer_modulator", [], seed, mAP=0.3 + NOISE[seed], NDS=0.3)
    data = build_table(store, collect(store), TableRequest()).data
    assert [arm.estimates.differences["mAP"].look for arm in data.arms if arm.match.group] == [1, 1]


def test_where_nothing_can_be_written_the_table_says_so(store: MadeUpStore):
    """A file where the journal's folder would be: as with results that are read-only."""
    add(store, range(3))
    (store.root / LOOKS).write_text("no folder")
    table = build_table(store, collect(store), TableRequest()).table
    assert any(note.startswith("this look could not be written down (") for note in table.notes)
    rows = [[row for row in collect(store) if row.variant == name] for name in VARIANTS]
    found = compare_two(*rows, store=store, request=Request(parts=(METRIC,)))
    assert any(note.startswith("this look could not be written down (") for note in found.notes)


def test_what_cannot_be_tested_is_no_look(store: MadeUpStore):
    """Two seeds each tell nothing of noise: no verdict was seen."""
    add(store, range(2))
    assert shown(store).p is None
    add(store, range(2, 3))
    assert shown(store).look == 1


def test_arms_looked_at_and_new_ones_are_judged_side_by_side(store: MadeUpStore):
    """The new arm by Dunnett's test as ever, the other by its own; both for two comparisons."""
    add(store, range(4))
    shown(store)
    add(store, range(4, 5))
    rows = [[row for row in collect(store) if row.variant == name] for name in VARIANTS]
    new = [row for row in rows[1] if row.seed != 4]
    renamed = [
        store.add("renderer_modulator", [], row.seed or 0, mAP=row.metric("mAP") or 0.0)
        for row in new
    ]
    third = [row for row in collect(store) if row.name in {folder.name for folder in renamed}]
    journal = Looks(store.root)
    both = compare_arms(rows[0], [rows[1], third], ["mAP"], store=store, looks=journal)["mAP"]
    plain = compare_arms(rows[0], [rows[1], third], ["mAP"], store=store)["mAP"]
    assert [one.look for one in both] == [2, 1]
    assert both[1] == plain[1]
    assert both[0].high - both[0].mean > plain[0].high - plain[0].mean
