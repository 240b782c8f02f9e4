"""What was computed before, below `<results>/.cache/inference`: it may be deleted at any time.

A key holds everything a result depends on, the code included; a damaged entry is no entry.
"""

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from aqr_exp.errors import AqrExpError
from aqr_exp.results.atomic import plain, read_json, replace_json
from aqr_exp.results.store import Store

_CODE_FOLDERS = ("results/inference", "evaluate")


class InferenceCache:
    """Entries by key, in a folder that is made when the first is kept.

    Args:
        store: Whose results.
    """

    def __init__(self, store: Store) -> None:
        self.path = store.root / ".cache" / "inference"

    def json_path(self, key: str) -> Path:
        """Where a small entry is.

        Args:
            key: From `cache_key`.
        """
        return self.path / "results" / f"{key}.json"

    def arrays_path(self, key: str) -> Path:
        """Where an entry of arrays is.

        Args:
            key: From `cache_key`.
        """
        return self.path / "runs" / f"{key}.npz"

    def read(self, key: str) -> dict[str, Any] | None:
        """A small entry; None where there is none or it is damaged.

        Args:
            key: From `cache_key`.
        """
        try:
            entry = read_json(self.json_path(key))
        except AqrExpError:
            return None
        content = entry.get("content")
        if not isinstance(content, dict) or entry.get("sha256") != _digest(content):
            return None
        return content

    def keep(self, key: str, content: Mapping[str, Any]) -> None:
        """Keep a small entry; where the folder cannot be written to, nothing is kept.

        Args:
            key: From `cache_key`.
            content: Plain values.
        """
        value = plain(content)
        path = self.json_path(key)
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_json(path, {"sha256": _digest(value), "content": value})


def cache_key(**parts: Any) -> str:
    """A name for what follows from these parts and from the code.

    Args:
        **parts: Plain values.
    """
    return _digest({"code": code_version(), **plain(parts)})


@lru_cache
def code_version() -> str:
    """A fingerprint of the code that turns records into results."""
    package = Path(__file__).resolve().parents[2]
    digest = hashlib.sha256()
    for folder in _CODE_FOLDERS:
        for path in sorted((package / folder).glob("*.py")):
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
