from hypothesis import given
from hypothesis import strategies as st

from aqr_exp.store.history import Joint, joints, stitched


def train(attempt: int | None, step: int) -> dict[str, object]:
    line: dict[str, object] = {"kind": "train", "epoch": 1 + (step - 1) // 10, "step": step}
    return line if attempt is None else {"attempt": attempt, **line}


def val(attempt: int, epoch: int) -> dict[str, object]:
    return {"attempt": attempt, "kind": "val", "epoch": epoch, "mAP": attempt / 10}


def test_a_run_in_one_go_has_no_joint() -> None:
    history = [train(1, step) for step in (1, 10, 20)]
    assert joints(history) == []
    assert stitched(history) == history
    assert joints([]) == stitched([]) == []


def test_what_was_done_again_counts_once() -> None:
    first = [train(1, 5), train(1, 10), val(1, 1), train(1, 15), train(1, 20), val(1, 2)]
    second = [train(2, 15), train(2, 20), val(2, 2), train(2, 25)]
    history = [*first, *second]
    assert joints(history) == [Joint(attempt=2, epoch=2, step=15)]
    assert str(joints(history)[0]) == "attempt 2 from epoch 2 (step 15)"
    assert stitched(history) == [*first[:3], *second]


def test_a_curve_ends_where_the_last_attempt_is() -> None:
    """A step that an earlier attempt reached is not shown until a later one reaches it."""
    history = [*(train(1, step) for step in (1, 10, 20, 30)), train(2, 11)]
    assert [line["step"] for line in stitched(history)] == [1, 10, 11]


def test_attempts_that_ended_before_their_first_line_leave_no_joint() -> None:
    history = [train(1, 10), train(4, 20), train(5, 20)]
    assert [(joint.attempt, joint.step) for joint in joints(history)] == [(4, 20), (5, 20)]
    assert stitched(history) == [train(1, 10), train(5, 20)]
    assert [joint.attempt for joint in joints([train(3, 1)])] == [3]


def test_other_lines_go_with_their_attempt() -> None:
    arm = {"attempt": 2, "kind": "arm", "epoch": 2, "step": 15}
    history = [train(1, 10), train(1, 15), {**arm, "attempt": 1}, arm, train(2, 15), val(2, 2)]
    assert stitched(history) == [train(1, 10), arm, train(2, 15), val(2, 2)]


def test_histories_of_older_versions_are_joined_where_steps_fall() -> None:
    history = [train(None, step) for step in (1, 10, 20, 10, 20, 30, 20, 40)]
    assert [(joint.attempt, joint.step) for joint in joints(history)] == [(2, 10), (3, 20)]
    assert [line["step"] for line in stitched(history)] == [1, 10, 20, 40]


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(1, 12)), max_size=6))
def test_stitched_steps_rise_and_are_the_last_written(spans: list[tuple[int, int]]) -> None:
    history = [
        train(number, step)
        for number, (begin, count) in enumerate(spans, start=1)
        for step in range(begin, begin + count)
    ]
    curve = stitched(history)
    steps = [line["step"] for line in curve]
    assert steps == sorted(set(steps))
    last = {line["step"]: line for line in history}
    assert all(line == last[line["step"]] for line in curve)
    assert curve[-1:] == history[-1:]
