"""What a completed run's larger files were when it completed: their size and SHA-256.

They are kept in `metrics.json`. The size is compared wherever a run is read, which costs one look at
the folder; the content where the file is used, by `aqr-exp show` (all but the checkpoints, which are
large and no number comes from) and by `table --verify`.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from aqr_exp.errors import AqrExpError
from aqr_exp.results.run_paths import HISTORY, RunPaths


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A larger file of a run when it completed.

    Attributes:
        size_bytes: Its size.
        sha256: Of its content, in hex.
    """

    size_bytes: int
    sha256: str


def measured(folder: RunPaths) -> dict[str, Artifact]:
    """The larger files that there are, by path in the run's folder.

    Raises:
        OSError: One cannot be read.
    """
    from aqr_exp.config.checkpoint_identity import file_sha256

    return {
        path.relative_to(folder.path).as_posix(): Artifact(
            size_bytes=path.stat().st_size, sha256=file_sha256(path)
        )
        for path in (*sources(folder), *_files_in(folder.checkpoints_dir))
    }


def sources(folder: RunPaths) -> list[Path]:
    """The larger files that a run's numbers come from, those of them that there are."""
    single = [path for path in (folder.history_path, folder.records_path) if path.is_file()]
    return [*single, *_files_in(folder.predictions_dir)]


def _files_in(folder: Path) -> list[Path]:
    """What lies in a folder, sorted, without what is being written."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_file() and path.name[0] != ".")


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
