"""Published numbers, each with its source: shown apart, marked, and never tested against."""

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import aqr_exp
from aqr_exp.errors import AqrExpError

NOT_MEASURED = "reference, not measured here"
MEASURED = "measured here"
WORDS = ("name", "changes", "data", "source")


@dataclass(frozen=True, kw_only=True)
class Reference:
    """One published result.

    Attributes:
        name: What was measured.
        changes: What sets it apart from others of that name.
        data: The split it was measured on.
        source: Who published it where.
        values: Its numbers by the names of a table's columns.
    """

    name: str
    changes: str
    data: str
    source: str
    values: Mapping[str, float]


def reference_dirs(results_root: Path) -> list[Path]:
    """Where references are: those that ship with the program, and the user's own.

    Args:
        results_root: The results folder; its `reference` is the user's.
    """
    package = Path(aqr_exp.__file__).resolve().parent
    shipped = [package / "reference", package.parent / "results" / "reference"]
    folders = {path.resolve(): path for path in (*shipped, results_root / "reference")}
    return [path for path in folders.values() if path.is_dir()]


def read_references(folders: Sequence[Path]) -> list[Reference]:
    """Every row of every `*.csv`, in the order of the files' names.

    Raises:
        AqrExpError: A file cannot be read, or a row has no source or a value that is no number.
    """
    return [
        row for folder in folders for path in sorted(folder.glob("*.csv")) for row in _read(path)
    ]


def _read(path: Path) -> Iterator[Reference]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = csv.DictReader(file, strict=True)
            missing = [name for name in WORDS if name not in (lines.fieldnames or [])]
            if missing:
                raise AqrExpError(f"{path} has no column {', '.join(missing)}")
            for line in lines:
                yield _reference(line, f"{path}:{lines.line_num}")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise AqrExpError(f"{path} cannot be read: {error}") from None


def _reference(line: Mapping[str, str | None], where: str) -> Reference:
    words = {name: (line[name] or "").strip() for name in WORDS}
    if not words["source"]:
        raise AqrExpError(f"{where}: a reference needs its source")
    values = {}
    for name, text in line.items():
        if name in WORDS or not (text or "").strip():
            continue
        try:
            values[name] = float(text or "")
        except ValueError:
            values[name] = math.nan
        if not math.isfinite(values[name]):
            raise AqrExpError(f"{where}: {name} is {text!r}, not a number")
    return Reference(**words, values=values)
