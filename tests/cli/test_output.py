"""Output of a command beside its answer."""

import logging

import pytest
from mmengine.logging import MMLogger, print_log

from aqr_exp.cli import console


def test_libraries_that_were_heard_before_are_silenced_below_a_warning(
    capsys: pytest.CaptureFixture[str],
) -> None:
    MMLogger.get_instance("heard_before")
    print_log("loading before", "current")
    assert "loading before" in capsys.readouterr().out
    console.silence_libraries()
    print_log("loading still", "current")
    assert capsys.readouterr() == ("", "")
    print_log("the disk is full", "current", level=logging.WARNING)
    assert "the disk is full" in capsys.readouterr().out
