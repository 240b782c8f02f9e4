"""Rules of a run's start: weights and checkpoints."""

import pytest

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
