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
from aqr_exp.data.corruptions.effects import FRAME_CORRUPTIONS, IMAGE_CORRUPTIONS, POINT_CORRUPTIONS
from aqr_exp.errors import RequestError


def test_every_registered_failure_has_one_implementation():
    at_work = [*POINT_CORRUPTIONS, *IMAGE_CORRUPTIONS, *FRAME_CORRUPTIONS, "beams"]
    assert sorted(at_work) == sorted(CORRUPTIONS)


def test_names_are_unique_and_can_be_typed():
    assert len({case.name for case in standard_cases()}) == len(standard_cases()) == 42
    for case in standard_cases():
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
    assert case.views == ("CAM_FRONT", "CAM_BACK_LEFT")
    assert not case.standard
    assert read_cases("view_drop@CAM_FRONT") == [
        CorruptionCase(corruption="view_drop", severity="front")
    ]
    assert CorruptionCase(corruption="view_drop", severity="0.2").views == ()


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("beam", r"unknown failure 'beam': did you mean 'beams'\? \(available: all, lidar_drop"),
        ("fogg@2", r"unknown failure 'fogg': did you mean 'fog'\?"),
        ("beams@3", r"beams: unknown severity '3' \(available: 16, 8, 4\)"),
        ("lidar_drop@emty", r"lidar_drop: unknown severity 'emty': did you mean 'empty'\?"),
        ("view_drop@frnt", r"unknown severity or view 'frnt': did you mean 'front'\?"),
        (" , ", r"no failures named: all, or some of lidar_drop"),
        ("../../etc", r"unknown failure '\.\./\.\./etc'"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(typed, said):
    with pytest.raises(RequestError, match=said) as caught:
        read_cases(typed)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


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
