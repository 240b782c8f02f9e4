"""`metrics.json`: the metrics of record, and what the larger files were when they were written."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aqr_exp.errors import AqrExpError
from aqr_exp.results.artifacts import Artifact
from aqr_exp.results.checksum import read_checked_json, replace_checked_json

FILES = "files"
"""The key beside the metrics: by path in the run's folder, `bytes` and `sha256`."""


@dataclass(frozen=True, kw_only=True)
class MetricsFile:
    """What the file holds.

    Attributes:
        metrics: The metrics of record.
        files: The larger files by path in the run's folder; empty in a file of an older version.
        verified: Whether it has a checksum, which it then fits.
    """

    metrics: dict[str, Any]
    files: dict[str, Artifact]
    verified: bool


def write_metrics_file(
    path: Path, metrics: Mapping[str, Any], files: Mapping[str, Artifact]
) -> None:
    """Replace the file in one step.

    Args:
        path: The file.
        metrics: The metrics of record.
        files: The larger files by path in the run's folder.

    Raises:
        OSError: Writing failed; the old file is untouched.
    """
    listed = {
        name: {"bytes": file.size_bytes, "sha256": file.sha256} for name, file in files.items()
    }
    replace_checked_json(path, {**metrics, FILES: listed})


def read_metrics_file(path: Path) -> MetricsFile:
    """Read the file.

    Args:
        path: The file.

    Raises:
        AqrExpError: It is missing or damaged.
    """
    read = read_checked_json(path)
    listed = read.value.pop(FILES, {})
    try:
        files = {str(name): _artifact(facts) for name, facts in dict(listed).items()}
    except (TypeError, KeyError, ValueError):
        raise AqrExpError(f"{path} is damaged: {FILES} does not describe files") from None
    return MetricsFile(metrics=read.value, files=files, verified=read.verified)


def _artifact(facts: Mapping[str, Any]) -> Artifact:
    size_bytes, sha256 = facts["bytes"], facts["sha256"]
    if not isinstance(size_bytes, int) or not isinstance(sha256, str):
        raise TypeError
    return Artifact(size_bytes=size_bytes, sha256=sha256)
