"""The wheel, installed where nothing of the checkout can be seen, and used from another folder."""

import subprocess
import venv
from email import message_from_string
from importlib.metadata import Distribution, distribution
from pathlib import Path
from zipfile import ZipFile

import pytest
from built_wheel import REPOSITORY, build_wheel, install_wheel
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


def _needed(wheel: Path) -> dict[str, Distribution]:
    """What the wheel needs without any extra, and all that needs in turn, as installed here."""
    (metadata,) = (
        name for name in ZipFile(wheel).namelist() if name.endswith(".dist-info/METADATA")
    )
    text = ZipFile(wheel).read(metadata).decode()
    todo = message_from_string(text).get_all("Requires-Dist")
    assert len(todo) > 10
    found: dict[str, Distribution] = {}
    while todo:
        requirement = Requirement(todo.pop())
        extras = ["", *requirement.extras]
        name = canonicalize_name(requirement.name)
        if name in found or not (
            requirement.marker is None
            or any(requirement.marker.evaluate({"extra": extra}) for extra in extras)
        ):
            continue
        found[name] = distribution(requirement.name)
        assert requirement.specifier.contains(found[name].version), requirement
        todo += found[name].requires or []
    return found


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """A virtual environment with the wheel and links to what it needs to compose, list and tabulate."""
    home = tmp_path_factory.mktemp("elsewhere it's")
    venv.create(home / "venv", with_pip=False)
    python = home / "venv" / "bin" / "python"
    install_wheel(wheel, python)
    (packages,) = (home / "venv" / "lib").glob("python*/site-packages")
    for needed in _needed(wheel).values():
        for top in {file.parts[0] for file in needed.files or []} - {"..", "__pycache__"}:
            source = Path(str(needed.locate_file(top)))
            if source.exists() and not (packages / top).exists():
                (packages / top).symlink_to(source)
    return home


def test_the_environment_holds_what_is_declared_and_nothing_else(installed):
    absent = ("torch", "mmengine", "mmdet3d", "matplotlib", "pytest", "optuna", "pyarrow")
    program = f"from importlib.util import find_spec; print([n for n in {absent} if find_spec(n)])"
    python = installed / "venv" / "bin" / "python"
    done = subprocess.run([python, "-I", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


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
    names = ZipFile(wheel).namelist()
    shipped = {name.removeprefix("aqr_exp/") for name in names if name.startswith("aqr_exp/conf/")}
    ours = {str(path.relative_to(REPOSITORY)) for path in (REPOSITORY / "conf").rglob("*.yaml")}
    assert len(ours) >= 10
    assert shipped == ours
    assert not [name for name in names if name.startswith("tests")]


def test_the_wheel_holds_every_sweep(wheel):
    names = ZipFile(wheel).namelist()
    shipped = {Path(name).name for name in names if name.startswith("aqr_exp/sweeps/")}
    ours = {path.name for path in (REPOSITORY / "sweeps").glob("*.yaml")}
    assert len(ours) >= 9
    assert shipped == ours


def test_the_wheel_holds_every_template(wheel):
    names = ZipFile(wheel).namelist()
    shipped = {Path(name).name for name in names if name.startswith("aqr_exp/templates/")}
    ours = {path.name for path in (REPOSITORY / "templates").glob("*.py")}
    assert len(ours) == 12
    assert shipped == ours


def test_the_wheel_holds_every_reference(wheel):
    names = ZipFile(wheel).namelist()
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
