"""The import contract of pyproject.toml: it holds, and an arrow that points back breaks it."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


def lint(folder: Path) -> subprocess.CompletedProcess:
    """import-linter on the package in a folder."""
    program = "from importlinter.cli import lint_imports; import sys; sys.exit(lint_imports(no_cache=True))"
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
    )


@pytest.fixture
def copied(tmp_path) -> Path:
    folder = tmp_path / "a copy; echo"
    shutil.copytree(
        REPOSITORY / "aqr_exp", folder / "aqr_exp", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copyfile(REPOSITORY / "pyproject.toml", folder / "pyproject.toml")
    return folder


def test_imports_point_one_way():
    done = lint(REPOSITORY)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("lower", "upper"),
    [
        ("aqr/windows.py", "aqr_exp.config.compose"),
        ("store/lease.py", "aqr_exp.launch.scheduler"),
        ("data/infos.py", "aqr_exp.synth.lidar"),
        ("errors.py", "aqr_exp.files.atomic"),
    ],
)
def test_one_import_that_points_back_breaks_the_contract(copied, lower, upper):
    path = copied / "aqr_exp" / lower
    assert (copied / Path(*upper.split("."))).with_suffix(".py").exists()
    path.write_text(f"{path.read_text()}\nimport {upper}\n")
    done = lint(copied)
    assert done.returncode == 1, done.stdout + done.stderr
    module = "aqr_exp." + lower.removesuffix(".py").replace("/", ".")
    assert f"{module} -> {upper}" in done.stdout


def test_every_package_has_a_place_in_the_contract():
    text = (REPOSITORY / "pyproject.toml").read_text()
    named = text.split("layers = [")[1].split("]")[0]
    layers = set(named.replace('"', " ").replace("|", " ").replace(",", " ").split())
    package = REPOSITORY / "aqr_exp"
    parts = {path.stem for path in package.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert layers == {f"aqr_exp.{part}" for part in parts - {"__init__", "__pycache__"}}


NUMERIC = {"torch", "numpy", "numba", "jaxtyping"}


def test_the_method_knows_torch_numpy_and_numba_alone():
    found = set()
    for path in (REPOSITORY / "aqr_exp" / "aqr").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add(node.module)
    others = {name for name in found if name.split(".")[0] not in sys.stdlib_module_names}
    assert {name.split(".")[0] for name in others} == NUMERIC | {"aqr_exp"}
    assert {".".join(name.split(".")[:2]) for name in others if "aqr_exp" in name} == {
        "aqr_exp.aqr"
    }


VARIANTS = {
    path.parent.name for path in (REPOSITORY / "aqr_exp" / "variants").glob("*/__init__.py")
} - {"baseline"}


def naming_a_variant(folder: Path) -> set[str]:
    """Files of a package that name a variant, but those of the variants themselves."""
    found = set()
    for path in folder.rglob("*.py"):
        relative = path.relative_to(folder)
        if relative.parts[0] != "variants" and any(name in path.read_text() for name in VARIANTS):
            found.add(str(relative))
    return found


def test_no_variant_is_named_outside_its_folder(copied):
    assert len(VARIANTS) >= 2
    package = copied / "aqr_exp"
    assert naming_a_variant(package) == set()
    for name in VARIANTS:
        (package / "report" / f"about_{name}.py").write_text(f"# As {name} does.\n")
    assert naming_a_variant(package) == {f"report/about_{name}.py" for name in VARIANTS}
