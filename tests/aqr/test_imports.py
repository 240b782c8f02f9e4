"""The method stands alone: it imports no detection stack and no other part of the program."""

import json
import subprocess
import sys
from pathlib import Path

import aqr_exp.aqr

PROGRAM = """
import importlib, json, pkgutil, sys
import aqr_exp.aqr
names = [m.name for m in pkgutil.walk_packages(aqr_exp.aqr.__path__, "aqr_exp.aqr.")]
for name in names:
    importlib.import_module(name)
print(json.dumps([names, sorted(sys.modules)]))
"""


def test_no_module_of_the_method_imports_the_detector_or_the_configuration():
    root = Path(aqr_exp.aqr.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    imported, loaded = json.loads(done.stdout)

    files = {path.stem for path in Path(aqr_exp.aqr.__file__).parent.glob("*.py")} - {"__init__"}
    assert {"layout", "places", "windows"} <= files
    assert {name.rsplit(".")[-1] for name in imported} == files

    tops = {name.split(".")[0] for name in loaded} - sys.stdlib_module_names
    assert {top for top in tops if top.startswith("mm")} == set()
    ours = {name for name in loaded if name.startswith("aqr_exp.")}
    assert {name for name in ours if not f"{name}.".startswith("aqr_exp.aqr.")} == set()
