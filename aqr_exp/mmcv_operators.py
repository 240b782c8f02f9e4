"""A stand-in for mmcv's compiled operators where mmcv is installed without them.

mmdet3d imports `mmcv.ops`, which loads the extension module `mmcv._ext` and looks up every operator in
it. Nothing in this package calls one of them (the voxels, pillars and losses are torch code), so
`mmcv-lite`, a wheel of pure Python, serves as well as a mmcv that took minutes to compile. The finder
below is asked last: a compiled extension always wins.
"""

import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

EXTENSION = "mmcv._ext"
REMEDY = "compile mmcv with its operators: make setup MMCV=full"


class StandIn(ModuleType):
    """The extension's stand-in: every operator exists, and refuses to be called."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """A function that raises when it is called.

        Raises:
            AttributeError: For names that Python itself looks for.
        """
        if name.startswith("__"):
            raise AttributeError(name)

        def refuse(*_: Any, **__: Any) -> Any:
            raise RuntimeError(f"mmcv's operator {name} is not compiled here; {REMEDY}")

        return refuse


class _Finder(MetaPathFinder, Loader):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        del path, target
        return ModuleSpec(fullname, self) if fullname == EXTENSION else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return StandIn(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing to execute."""


def provide() -> None:
    """Let `mmcv.ops` be imported without a compiled extension. Asked twice, it does nothing more."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())
