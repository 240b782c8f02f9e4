"""The wheel, installed where nothing of the checkout can be seen, and used from another folder."""

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(REPOSITORY)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    (path,) = folder.glob("aqr_exp-*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """A virtual environment with the wheel and what it needs to compose, list and tabulate."""
    home = tmp_path_factory.mktemp("elsewhere it's")
    venv.create(home / "venv", with_pip=True)
    python = home / "venv" / "bin" / "python"
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command += ["-c", str(REPOSITORY / "constraints-cpu.txt"), str(wheel)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return home


def _aqr_exp(home: Path, *arguments: str) -> subprocess.CompletedProcess:
    # A copied virtual environment's own script is used, from a folder that holds nothing of ours.
    script = home / "venv" / "bin" / "aqr-exp"
    return subprocess.run(
        [str(home / "venv" / "bin" / "python"), "-I", str(script), *arguments],
        capture_output=True,
        text=True,
        cwd=home,
        env={"PATH": "/usr/bin:/bin", "HOME": str(home)},
        check=False,
    )


def test_the_wheel_holds_every_configuration_and_no_tests(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    shipped = {name.removeprefix("aqr_exp/") for name in names if name.startswith("aqr_exp/conf/")}
    ours = {str(path.relative_to(REPOSITORY)) for path in (REPOSITORY / "conf").rglob("*.yaml")}
    assert len(ours) >= 10
    assert shipped == ours
    assert not [name for name in names if name.startswith("tests")]


def test_the_wheel_holds_every_sweep(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    shipped = {Path(name).name for name in names if name.startswith("aqr_exp/sweeps/")}
    ours = {path.name for path in (REPOSITORY / "sweeps").glob("*.yaml")}
    assert len(ours) >= 9
    assert shipped == ours


def test_the_wheel_holds_every_reference(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    shipped = {Path(name).name for name in names if name.startswith("aqr_exp/reference/")}
    ours = {path.name for path in (REPOSITORY / "results" / "reference").glob("*.csv")}
    assert len(ours) >= 2
    assert shipped == ours


def test_it_finds_the_sweeps_elsewhere(installed):
    done = _aqr_exp(installed, "sweep", "smoke", "--dry-run")
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    # The sweep is there; its data are not.
    assert "no data set there: make it with `aqr-exp data synth`" in line
    assert not (installed / "results").exists()


def test_it_composes_elsewhere(installed):
    done = _aqr_exp(installed, "config", "baseline", "schedule.epochs=3")
    assert done.returncode == 0, done.stderr
    assert "epochs: 3" in done.stdout


def test_it_lists_nothing_elsewhere(installed):
    done = _aqr_exp(installed, "list")
    assert done.returncode == 0, done.stderr


def test_without_the_training_packages_it_says_what_to_install(installed):
    done = _aqr_exp(installed, "data", "synth")
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("aqr-exp: making data needs torch, mmengine, mmcv, mmdet, mmdet3d")
    assert "pip install 'aqr-exp[train]'" in line
    assert "aqr-exp doctor" in line
    assert not (installed / "data").exists()


def test_without_data_a_run_says_how_to_make_them_and_leaves_nothing(installed):
    done = _aqr_exp(installed, "run", "baseline")
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert "no data set there: make it with `aqr-exp data synth`" in line
    assert not (installed / "results").exists()
