import numpy as np

from aqr_exp.synth.actors import Actor, Motion, Size
from aqr_exp.synth.annotations import ANNOTATION_RANGE_M, FrameView, annotate
from aqr_exp.synth.sets import SETS


def actor(kind_index: int, category: str, attribute: str = "") -> Actor:
    return Actor(
        kind=SETS["synth"].kinds[kind_index] if category else SETS["synth"].clutter[0],
        category=category,
        attribute=attribute,
        size=Size(length=4.0, width=2.0, height=1.5),
        blocks=(),
        motion=Motion(s=0.0, d=0.0),
    )


def frame(points: list[int], x: float = 10.0) -> FrameView:
    count = len(points)
    return FrameView(
        poses=np.tile([x, 2.0, 0.5], (count, 1)),
        ego=np.zeros(3),
        lidar_points=np.array(points),
        seen_px=np.full(count, 30),
        drawn_px=np.full(count, 60),
    )


def name(*parts: object) -> str:
    return "/".join(map(str, parts))


def test_a_hidden_keyframe_leaves_a_gap_that_the_chain_jumps() -> None:
    actors = (actor(4, "vehicle.car", "vehicle.parked"), actor(0, ""))
    frames = [frame([5, 9]), frame([0, 9]), frame([3, 9]), frame([2, 9], x=ANNOTATION_RANGE_M)]
    (instance,), rows = annotate(actors, frames, name)
    assert [row["num_lidar_pts"] for row in rows] == [5, 3]
    first, last = rows
    assert (first["prev"], first["next"]) == ("", last["token"])
    assert (last["prev"], last["next"]) == (first["token"], "")
    assert instance["nbr_annotations"] == 2
    assert instance["first_annotation_token"] == first["token"]
    assert instance["last_annotation_token"] == last["token"]


def test_a_row_by_hand() -> None:
    _, (row,) = annotate((actor(8, "movable_object.barrier"),), [frame([1])], name)
    assert row["translation"] == [10.0, 2.0, 0.75]
    assert row["size"] == [2.0, 4.0, 1.5]
    assert np.allclose(row["rotation"], [np.cos(0.25), 0.0, 0.0, np.sin(0.25)])
    assert row["attribute_tokens"] == []
    # Half of it is seen: 40 to 60 %.
    assert row["visibility_token"] == "2"


def test_what_nothing_sees_has_no_track() -> None:
    assert annotate((actor(4, "vehicle.car"),), [frame([0]), frame([0])], name) == ([], [])
