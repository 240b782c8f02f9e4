"""The install without the `train` extra: sizes, paths and info files are read without its libraries."""

import subprocess
import sys
from pathlib import Path

import pytest
from made_up_data import write_identity

PROBE = """
import importlib, importlib.abc, sys

EXTRA = {"torch", "mmengine", "mmcv", "mmdet", "mmdet3d", "nuscenes", "pyquaternion", "cv2", "numba"}

class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in EXTRA:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
if sys.argv[1] == "import":
    for name in sys.argv[2:]:
        importlib.import_module(name)
else:
    from aqr_exp.cli.main import main
    sys.exit(main(sys.argv[1:]))
"""


def light(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-c", PROBE, *arguments], capture_output=True, text=True)


def test_a_dry_run_prints_the_plan_and_what_is_missing(tmp_path: Path) -> None:
    root = tmp_path / "synth"
    write_identity(root)
    result = light("run", "baseline", "--dry-run", f"data.root={root}")
    assert "Traceback" not in result.stderr
    assert "internal error" not in result.stderr
    assert result.stdout.startswith("baseline")
    (line,) = [x for x in result.stderr.splitlines() if x.startswith("aqr-exp: ")]
    assert "training needs torch" in line
    assert result.returncode == 2


@pytest.mark.parametrize(
    "module",
    [
        "info_files",
        "nuscenes_tables",
        "pipeline",
        "classes",
        "corruptions.cases",
        "gt_database.store",
    ],
)
def test_what_reads_prepared_data_is_light(module: str) -> None:
    result = light("import", f"aqr_exp.data.{module}")
    assert result.returncode == 0, result.stderr
