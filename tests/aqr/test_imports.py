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

    package = Path(aqr_exp.aqr.__file__).parent
    files = {
        ".".join(path.relative_to(package.parent).with_suffix("").parts)
        for path in package.rglob("*.py")
    }
    assert {"aqr.windows", "aqr.attention.api"} < files
    packages = {name.removesuffix(".__init__") for name in files} - {"aqr"}
    assert {name.removeprefix("aqr_exp.") for name in imported} == packages

    tops = {name.split(".")[0] for name in loaded} - sys.stdlib_module_names
    assert {top for top in tops if top.startswith("mm")} == set()
    ours = {name for name in loaded if name.startswith("aqr_exp.")}
    # The package itself makes mmdet3d importable, wherever it is used.
    others = {name for name in ours if not f"{name}.".startswith("aqr_exp.aqr.")}
    assert others == {"aqr_exp.mmcv_operators"}
