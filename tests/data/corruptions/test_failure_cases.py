"""Names of failures as they are typed, and draws that depend on nothing but token and case."""

import subprocess
import sys

import pytest

from aqr_exp.data.corruptions.cases import (
    CORRUPTIONS,
    CorruptionCase,
    cases_of,
    read_cases,
    standard_cases,
)
from aqr_exp.data.corruptions.effects import (
    FILE_CORRUPTIONS,
    FRAME_CORRUPTIONS,
    IMAGE_CORRUPTIONS,
    POINT_CORRUPTIONS,
)
from aqr_exp.errors import RequestError


def test_every_registered_failure_is_implemented():
    whole = [POINT_CORRUPTIONS, IMAGE_CORRUPTIONS, FRAME_CORRUPTIONS, FILE_CORRUPTIONS]
    assert {name for part in whole for name in part} == set(CORRUPTIONS)
    both = {name for name in FILE_CORRUPTIONS if name in IMAGE_CORRUPTIONS}
    assert both == {"mc_fog", "mc_motionblur", "mc_snow"}  # what strikes both sensors


@pytest.mark.parametrize(
    ("suite", "names", "cases"),
    [("multicorrupt", 10, 30), ("robo3d", 3, 9), ("nuscenes_r", 3, 20), ("all", 16, 42)],
)
def test_a_publications_corruptions_have_one_name_together(suite, names, cases):
    found = read_cases(suite)
    assert len({case.corruption for case in found}) == names
    assert len(found) == len(set(found)) == cases
    assert found == standard_cases(suite)
    assert {case.definition.suite for case in found} == {suite}
    assert read_cases(f"{suite},{found[0].name}") == found


def test_multicorrupts_ten_have_its_own_names_and_severities():
    assert [case.name for case in read_cases("multicorrupt")] == [
        f"mc_{name}@{level}"
        for name in (
            "beamsreducing", "brightness", "dark", "fog", "missingcamera", "motionblur",
            "pointsreducing", "snow", "spatialmisalignment", "temporalmisalignment",
        )
        for level in (1, 2, 3)
    ]  # fmt: skip


def test_draws_of_published_corruptions_are_nested_over_the_severities():
    def first(name: str) -> float:
        (case,) = read_cases(name)
        return case.rng("a token").random()

    assert first("mc_fog@1") == first("mc_fog@3")
    assert first("nr_stuck_lidar@10") == first("nr_stuck_lidar@90")
    assert first("mc_fog@1") != first("mc_snow@1")
    assert first("view_drop@0.2") != first("view_drop@0.4")  # stored results stay what they are


def test_names_are_unique_and_can_be_typed():
    assert len({case.name for case in standard_cases()}) == len(standard_cases()) == 42
    assert len({case.name for case in standard_cases(None)}) == len(standard_cases(None)) == 101
    for case in standard_cases(None):
        assert read_cases(case.name) == [case]
        assert "/" not in case.name


def test_all_and_names_and_severities_are_read_once_each():
    assert read_cases("all") == standard_cases()
    assert read_cases(" beams , beams@4,dark@2") == [
        *cases_of(CORRUPTIONS["beams"]),
        CorruptionCase(corruption="dark", severity="2"),
    ]


def test_named_views_have_one_name_whatever_their_order():
    (case,) = read_cases("view_drop@back_left+front")
    assert case.name == "view_drop@front+back_left"
    assert case.views == ("front", "back_left")
    assert case not in standard_cases(None)
    assert read_cases("view_drop@CAM_FRONT") == [
        CorruptionCase(corruption="view_drop", severity="front")
    ]
    assert CorruptionCase(corruption="view_drop", severity="0.2").views == ()


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (
            "beam",
            r"unknown failure 'beam': did you mean 'beams'\? \(available: all, multicorrupt, nuscenes_r,",
        ),
        ("multicorupt", r"unknown failure 'multicorupt': did you mean 'multicorrupt'\?"),
        ("mc_snoww@1", r"unknown failure 'mc_snoww': did you mean 'mc_snow'\?"),
        ("mc_snow@4", r"mc_snow: unknown severity '4' \(available: 1, 2, 3\)"),
        ("r3d_crosstalk@hevy", r"unknown severity 'hevy': did you mean 'heavy'\?"),
        (
            "multicorrupt@2",
            r"multicorrupt: a severity goes with one failure: type multicorrupt alone",
        ),
        ("x" * 500, r"unknown failure 'xxx"),
        ("\x1b[31mbeams", r"unknown failure '\\x1b\[31mbeams'"),
        ("fogg@2", r"unknown failure 'fogg': did you mean 'fog'\?"),
        ("beams@3", r"beams: unknown severity '3' \(available: 16, 8, 4\)"),
        ("lidar_drop@emty", r"lidar_drop: unknown severity 'emty': did you mean 'empty'\?"),
        ("view_drop@frnt", r"unknown severity or view 'frnt': did you mean 'front'\?"),
        (" , ", r"no failures named: all, multicorrupt, nuscenes_r, robo3d, or of lidar_drop"),
        ("../../etc", r"unknown failure '\.\./\.\./etc'"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(typed, said):
    with pytest.raises(RequestError, match=said) as caught:
        read_cases(typed)
    assert caught.value.exit_code == 2
    (fault,) = caught.value.faults
    assert "\n" not in str(fault)
    assert len(fault.line) <= 190


def test_all_faults_are_told_at_once():
    with pytest.raises(RequestError) as caught:
        read_cases("beam,fogg")
    assert len(str(caught.value).splitlines()) == 2


def test_draws_depend_on_token_failure_and_severity_alone():
    def first(token: str, failure: str, severity: str) -> float:
        return CorruptionCase(corruption=failure, severity=severity).rng(token).random()

    one = first("token", "noise", "1")
    assert first("token", "noise", "1") == one
    others = [
        first("other", "noise", "1"),
        first("token", "noise", "2"),
        first("token", "fog", "1"),
    ]
    assert len({one, *others}) == 4


def test_another_process_draws_the_same():
    ours = CorruptionCase(corruption="noise", severity="1").rng("token").random(3).tolist()
    code = (
        "from aqr_exp.data.corruptions.cases import CorruptionCase;"
        "print(CorruptionCase(corruption='noise', severity='1').rng('token').random(3).tolist())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(ours)
