"""The stand-in for mmcv's compiled operators."""

import subprocess
import sys

import pytest

from aqr_exp import mmcv_operators


def fresh(program, *path):
    """Run a program in a process of its own, with folders first on its path."""
    start = f"import sys; sys.path[:0] = {[str(folder) for folder in path]!r}\n"
    return subprocess.run([sys.executable, "-c", start + program], capture_output=True, text=True)


def test_an_operator_that_is_called_names_itself_and_the_remedy():
    extension = mmcv_operators.StandIn("mmcv._ext")
    message = (
        r"^mmcv's operator nms is not compiled here; "
        r"compile mmcv with its operators: make setup MMCV=full$"
    )
    with pytest.raises(RuntimeError, match=message):
        extension.nms(1, iou_threshold=0.5)
    assert not hasattr(extension, "__path__")


def test_it_is_looked_for_once_and_after_everything_else():
    before = [*sys.meta_path]
    mmcv_operators.provide()
    assert sys.meta_path == before
    finders = [isinstance(finder, mmcv_operators._Finder) for finder in sys.meta_path]
    assert sum(finders) == 1
    (finder,) = (one for one in sys.meta_path if isinstance(one, mmcv_operators._Finder))
    assert finder.find_spec("mmcv.ops", None) is None
    program = "import aqr_exp, sys; print(type(sys.meta_path[-1]).__name__)"
    done = fresh(program)
    assert done.stdout == "_Finder\n", done.stderr


@pytest.mark.parametrize("compiled", [True, False])
def test_a_compiled_extension_wins(compiled, tmp_path):
    package = tmp_path / "a folder; echo" / "mmcv"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    if compiled:
        # Any module that Python finds by itself stands for the extension.
        (package / "_ext.py").write_text("nms = 'compiled'\n")
    program = (
        "import importlib, aqr_exp\n"
        "from aqr_exp.mmcv_operators import StandIn\n"
        "extension = importlib.import_module('mmcv._ext')\n"
        "print(not isinstance(extension, StandIn), extension.nms == 'compiled')"
    )
    done = fresh(program, package.parent)
    assert done.stdout == f"{compiled} {compiled}\n", done.stderr


def test_mmdet3d_can_be_imported_in_a_fresh_process():
    done = fresh("import aqr_exp, mmdet3d.models, mmcv.ops; print(callable(mmcv.ops.nms))")
    assert done.stdout.endswith("True\n"), done.stderr
