"""A pytest plugin, `-p without_torch`: importing torch fails, as where the training extra is missing."""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


class _NoTorch(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        del path, target
        if fullname == "torch":
            raise ModuleNotFoundError("these tests run without torch", name="torch")
        return None


sys.meta_path.insert(0, _NoTorch())
