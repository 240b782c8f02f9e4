"""docs/ideas.md, command by command: a stranger's way from a wheel and an empty folder to a verdict."""

import csv
import os
import shlex
import subprocess
import sysconfig
import venv
from pathlib import Path

import pytest
from built_wheel import REPOSITORY, build_wheel, install_wheel

PAGE = REPOSITORY / "docs" / "ideas.md"


def commands() -> list[str]:
    """What the page says to type, in order."""
    return [line[2:] for line in PAGE.read_text().splitlines() if line.startswith("$ ")]


class Stranger:
    """Somebody with the wheel and all it needs, and nothing of the checkout, in an empty folder."""

    def __init__(self, home: Path) -> None:
        venv.create(home / "venv", with_pip=False)
        python = home / "venv" / "bin" / "python"
        install_wheel(build_wheel(home), python)
        (packages,) = (home / "venv" / "lib").glob("python*/site-packages")
        # Searched last, so that the package is the wheel's: only what it needs comes from there.
        (packages / "needed.pth").write_text(sysconfig.get_path("purelib") + "\n")
        (home / "venv" / "bin" / "pytest").write_text(f'#!/bin/sh\nexec {python} -m pytest "$@"\n')
        (home / "venv" / "bin" / "pytest").chmod(0o755)
        self.folder = home / "empty"
        self.folder.mkdir()
        kept = {key: value for key, value in os.environ.items() if key.startswith("OMP_")}
        path = f"{home / 'venv' / 'bin'}:/usr/bin:/bin"
        self.environment = {**kept, "PATH": path, "HOME": str(home), "CUDA_VISIBLE_DEVICES": ""}

    def types(self, line: str) -> str:
        """Type a line that must work; returns what it answers."""
        done = subprocess.run(
            ["/bin/bash", "-c", line],
            capture_output=True,
            text=True,
            cwd=self.folder,
            env=self.environment,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Stranger:
    return Stranger(tmp_path_factory.mktemp("stranger"))


@pytest.mark.timeout(3600)  # also where much else runs
def test_every_command_of_the_page_works_from_a_wheel(stranger: Stranger) -> None:
    where = stranger.types("python -c 'import aqr_exp; print(aqr_exp.__file__)'")
    assert where.startswith(str(stranger.folder.parent / "venv"))
    typed = commands()
    assert len(typed) >= 9
    answers = {line: stranger.types(line) for line in typed}
    (configured,) = (answers[line] for line in typed if shlex.split(line)[1] == "config")
    assert "variant: {name: my_gain, start: 1.5}" in configured
    # Both arms over both seeds, the clean row with a verdict, and nothing confounded.
    table = stranger.types("aqr-exp table --format csv")
    rows = {row["variant"]: row for row in csv.DictReader(table.splitlines()) if row["variant"]}
    assert set(rows) == {"baseline", "my_gain"}
    assert {row["n"] for row in rows.values()} == {"2"}
    assert rows["my_gain"]["mAP verdict"] in {"better", "worse", "undecided", "no data"}
    assert rows["my_gain"]["confounders"] == ""
    (drawn,) = (answers[line] for line in typed if " plot " in line)
    files = [stranger.folder / name for name in drawn.split()]
    assert len(files) == 2
    assert all(path.stat().st_size > 1000 for path in files)
