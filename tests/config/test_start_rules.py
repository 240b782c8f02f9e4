"""Rules of a run's start: weights and checkpoints."""

import pytest

from aqr_exp.config.identity import as_dict, fingerprint, from_spec
from aqr_exp.config.load import load_run
from aqr_exp.errors import RequestError


def test_parts_of_nothing_are_refused():
    with pytest.raises(
        RequestError, match=r"start\.parts=\['head'\]: parts of what start\.load_from loads: set it"
    ):
        load_run("baseline", ["start.parts=[head]"])


def test_an_empty_beginning_is_refused(tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(b"weights")
    with pytest.raises(RequestError, match=r"start\.parts=\[''\]: an empty beginning would take"):
        load_run("baseline", [f"start.load_from={path}", "start.parts=['']"])


@pytest.mark.parametrize(
    ("typed", "does"),
    [("start.rename={a: b}", "renames what"), ("start.ignore=[fc]", "ignores some of what")],
)
def test_rules_on_nothing_are_refused(typed, does):
    with pytest.raises(
        RequestError, match=rf"start\.\w+=\S.*: {does} start\.load_from loads: set it"
    ):
        load_run("baseline", [typed])


PAPER = ("preset=paper_r50",)


def begins(*typed):
    return load_run("baseline", list(typed), begins=True)


def test_a_random_backbone_is_typed_and_the_run_is_the_one_it_was():
    """The setting is no part of what the run is: runs of before it are found again."""
    assert fingerprint(begins(*PAPER, "start.random=true")) == fingerprint(
        load_run("baseline", PAPER)
    )
    with pytest.raises(RequestError, match=r"start\.random=true insists"):
        begins(*PAPER)
    # What was begun before goes on.
    assert from_spec(as_dict(load_run("baseline", PAPER))).start is None


@pytest.mark.parametrize(
    ("typed", "refused"),
    [
        (["start.load_from={file}", "start.parts=[img_backbone]"], False),
        (["start.load_from={file}", "start.parts=[img]"], False),
        (["start.load_from={file}"], False),
        # A file that gives another part leaves the backbone at random.
        (["start.load_from={file}", "start.parts=[pts_backbone]"], True),
        (["start.load_from={file}", "start.parts=[img_backbone.layer1]"], True),
        (["start.load_from={file}", "start.parts=[pts_backbone]", "start.random=true"], False),
        # A backbone that really learns needs none, and the map says whether it does.
        (["schedule.img_backbone_lr_mult=1"], False),
        (["schedule.lr_mult={{img_backbone: 1}}"], False),
        (["schedule.img_backbone_lr_mult=1", "schedule.lr_mult={{img_backbone: 0}}"], True),
        (["model.image.norm_eval=false"], False),
    ],
)
def test_when_a_recipe_rests_on_a_trained_backbone(typed, refused, tmp_path):
    file = tmp_path / "weights.pth"
    file.write_bytes(b"weights")
    words = [*PAPER, *(each.format(file=file) for each in typed)]
    if not refused:
        assert begins(*words).seed == 0
        return
    with pytest.raises(RequestError, match="the image backbone would begin at random"):
        begins(*words)


def test_small_models_and_models_without_cameras_begin_as_they_are():
    lidar = ["data.augment.drop_camera=0", "data.augment.drop_lidar=0", "gt_sampling=cmt"]
    assert begins("preset=quick").start is None
    assert begins("model=cmt_lidar", "schedule=published", *lidar).start is None
