from pathlib import Path

import pytest

from aqr_exp.errors import RequestError
from aqr_exp.report.arm_names import one_arm, selected
from aqr_exp.store.collect import RunRow
from aqr_exp.store.status import RunStatus
from aqr_exp.store.store import Store
from aqr_exp.store.sweep_folder import SweepEntry


def baseline(fingerprint: str, seed: int, end: str = "", status: str = "completed") -> RunRow:
    record = {"variant": "baseline", "fingerprint": fingerprint, "seed": seed}
    name = f"baseline-{fingerprint}-s{seed}{end}"
    return RunRow(name=name, status=RunStatus(status), record=record)


FIRST = [baseline("aaaa", 0), baseline("aaaa", 1)]
SECOND = [baseline("aabb", 0), baseline("aabb", 0, "-a2")]
ROWS = [*FIRST, *SECOND, baseline("cc", 5, status=RunStatus.FAILED)]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path)
    entry = SweepEntry(name="baseline-aabb-s0", variant="baseline", overrides=(), seed=0)
    store.sweep("mine; echo $HOME").write_plan([entry])
    return store


def test_names_select_sweeps_and_beginnings(store: Store) -> None:
    assert selected(ROWS, [], store=store) == ROWS
    assert selected(ROWS, ["mine; echo $HOME"], store=store) == SECOND
    assert selected(ROWS, ["baseline-aaaa"], store=store) == FIRST
    both = selected(ROWS, ["baseline-aabb-s0", "baseline-aaaa-s1"], store=store)
    assert both == [FIRST[1], SECOND[0]]  # a whole name is that run, not its reruns


def test_a_name_of_nothing_is_refused_with_the_nearest(store: Store) -> None:
    fault = r"^no sweep and no run begins with 'baselin3': did you mean 'baseline'\? \(see `aqr-exp list`"
    with pytest.raises(RequestError, match=fault):
        selected(ROWS, ["baselin3"], store=store)
    with pytest.raises(RequestError, match=r"^no sweep and no run begins with 'x'"):
        selected([], ["x"], store=store)


def test_an_arm_by_its_beginning_a_run_by_its_name() -> None:
    assert one_arm(ROWS, "baseline-aaaa") == (FIRST, [])
    assert one_arm(ROWS, "baseline-aaaa-s1") == ([FIRST[1]], [])
    assert one_arm(ROWS, "baseline-aabb-s0") == ([SECOND[0]], [])
    with pytest.raises(
        RequestError,
        match=r"^'baseline-aa' begins the names of 2 arms: baseline-aaaa, baseline-aabb$",
    ):
        one_arm(ROWS, "baseline-aa")
    with pytest.raises(
        RequestError,
        match=r"^'baseline-cc' has no completed run: baseline-cc-s5: failed: no metrics yet$",
    ):
        one_arm(ROWS, "baseline-cc")
    with pytest.raises(
        RequestError, match=r"^no run begins with 'basline': did you mean 'baseline'\?"
    ):
        one_arm(ROWS, "basline")


def test_what_is_left_out_of_an_arm_is_named_with_its_reason() -> None:
    damaged = RunRow(
        name="baseline-aaaa-s2", status=RunStatus.DAMAGED, reason="state.json is damaged"
    )
    line = "not compared: baseline-aaaa-s2: damaged: state.json is damaged"
    assert one_arm([*ROWS, damaged], "baseline-aaaa") == (FIRST, [line])
    with pytest.raises(RequestError, match=r"s2: damaged: state\.json is damaged$"):
        one_arm([damaged], "baseline-aaaa")
