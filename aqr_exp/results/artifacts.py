"""What a completed run's larger files were when it completed: their size and SHA-256.

They are kept in `metrics.json`. The size is compared wherever a run is read, which costs one look at
the folder; the content where the file is used, and by `aqr-exp show` and `table --verify`.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from aqr_exp.errors import AqrExpError
from aqr_exp.results.run_paths import HISTORY, RunPaths

FILES = "files"
"""The key of `metrics.json`: by path in the run's folder, `bytes` and `sha256`."""


def measured(folder: RunPaths) -> dict[str, dict[str, Any]]:
    """Size and SHA-256 of each file that there is, by path in the run's folder.

    Raises:
        OSError: One cannot be read.
    """
    from aqr_exp.config.checkpoint_identity import file_sha256

    return {
        path.relative_to(folder.path).as_posix(): {
            "bytes": path.stat().st_size,
            "sha256": file_sha256(path),
        }
        for path in artifact_paths(folder)
        if path.is_file()
    }


def artifact_paths(folder: RunPaths) -> Iterator[Path]:
    """The larger files that a run's numbers come from, those of detections only where they are."""
    yield folder.history_path
    yield folder.records_path
    if folder.predictions_dir.is_dir():
        yield from sorted(path for path in folder.predictions_dir.iterdir() if path.name[0] != ".")


def check_sizes(folder: str, sizes: Mapping[str, int]) -> None:
    """Refuse files that are not as long as they were.

    Args:
        folder: The run's folder.
        sizes: Bytes by path in it; a file that was removed is no damage, nor are lines added to
            the history.

    Raises:
        AqrExpError: Names the first that differs, and both sizes.
    """
    for name, expected in sizes.items():
        try:
            found = os.stat(f"{folder}/{name}").st_size  # noqa: PTH116 - thirty thousand of these
        except OSError:
            continue
        grown = name == HISTORY and found > expected
        if found != expected and not grown:
            raise AqrExpError(
                f"{folder}/{name} is damaged: {found} bytes, {expected} when the run completed"
            )


def sizes_of(files: Any, where: str) -> dict[str, int]:
    """The sizes out of what `metrics.json` holds under `files`.

    Args:
        files: The value; None in one that an older version wrote.
        where: The file, for the message.

    Raises:
        AqrExpError: It has another form.
    """
    try:
        sizes = {str(name): facts["bytes"] for name, facts in dict(files or {}).items()}
    except (TypeError, KeyError, ValueError):
        sizes = {FILES: None}
    if not all(isinstance(size, int) for size in sizes.values()):
        raise AqrExpError(f"{where} is damaged: {FILES} does not say the sizes of files")
    return sizes
