"""How kernels are compiled (numba), and where their machine code is kept.

Only imported where numba is: `kernel_choice`.
"""

import hashlib
import inspect
import os
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numba

Function = TypeVar("Function", bound=Callable[..., Any])

# Liberties the compiler may take. Loose: sums in the order that vectors like. Infinities keep their
# meaning in either. Never left out: a function without liberties of its own takes its first caller's.
_STRICT = frozenset({"contract"})
_LOOSE = frozenset({"contract", "reassoc", "nsz"})


def compiled(*, loose: bool = False) -> Callable[[Function], Function]:
    """Compile a function at its first call, to run without the interpreter's lock.

    Division by zero gives infinity, as in torch. What it calls becomes part of it: called by name, the
    process that compiled both may find another machine code of that name, with its sums in another
    order, than one that loads them. The machine code is kept for the next process, in
    NUMBA_CACHE_DIR where that is set, else in the user's cache folder; nowhere if that cannot be
    written.

    Args:
        loose: Whether sums may be taken in any order.
    """

    def compile_one(function: Function) -> Function:
        # Tests wrap all functions of the package in type checks.
        bare = inspect.unwrap(function)
        folder = _cache_folder()
        before = numba.config.CACHE_DIR
        # numba asks for the folder once, here.
        numba.config.CACHE_DIR = "" if folder is None else str(folder)
        try:
            made: Function = numba.njit(
                cache=folder is not None,
                nogil=True,
                error_model="numpy",
                forceinline=True,
                fastmath=set(_LOOSE if loose else _STRICT),
            )(bare)
        finally:
            numba.config.CACHE_DIR = before
        return made

    return compile_one


@cache
def _cache_folder() -> Path | None:
    """A folder of its own for every version of the kernels.

    numba looks at the file of a function alone, and would miss a change in what it calls.
    """
    digest = hashlib.sha256(Path(__file__).read_bytes())
    sources = sorted(Path(__file__).parent.glob("*kernel*.py"))
    if not sources:
        raise RuntimeError("no kernels beside their compiler: other versions' code would be loaded")
    for source in sources:
        digest.update(source.read_bytes())
    home = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    parent = Path(numba.config.CACHE_DIR or Path(home) / "aqr-exp")
    folder = parent / f"kernels-{digest.hexdigest()[:16]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError:
        return None
    return folder
