"""The match records of a run: all that its metrics, on any part of the data, can be computed from."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from aqr_exp.evaluate.array_file import read_arrays, write_arrays
from aqr_exp.evaluate.match_table import MatchTable
from aqr_exp.evaluate.samples import Samples

_KIND = "match records, form 1"

WHOLE = "all"
"""The table of all boxes."""

BANDS_M = {"0-20m": (0.0, 20.0), "20-30m": (20.0, 30.0), "30-50m": (30.0, 50.0)}
"""Tables of the boxes whose distance from the vehicle is at least the first and less than the second."""


@dataclass(frozen=True, kw_only=True, eq=False)
class MatchRecords:
    """Matches of a run on a split, independent of the data and the result file they were made from.

    Attributes:
        samples: The split's samples and scenes.
        tables: Match tables: `all`, and one for each range band.
        header: What else is known: the protocol, the split, and what the maker adds.
    """

    samples: Samples
    tables: Mapping[str, MatchTable]
    header: Mapping[str, Any]


def write_records(path: Path, records: MatchRecords) -> None:
    """Keep records in a file, in one step.

    Args:
        path: The file; its folder must exist.
        records: The records.

    Raises:
        OSError: Writing failed; the old file is untouched.
    """
    arrays = records.samples.arrays()
    for name, table in records.tables.items():
        arrays.update({f"{name}/{field}": value for field, value in table.arrays().items()})
    header = {**records.header, "tables": list(records.tables)}
    write_arrays(path, _KIND, arrays, header)


def read_records(path: Path) -> MatchRecords:
    """Records from a file.

    Args:
        path: The file.

    Raises:
        AqrExpError: It is missing, damaged or no such file; names it.
    """
    arrays, header = read_arrays(path, _KIND)
    del header["kind"]
    tables: dict[str, MatchTable] = {}
    for name in header.pop("tables"):
        prefix = f"{name}/"
        fields: dict[str, np.ndarray] = {
            key.removeprefix(prefix): value
            for key, value in arrays.items()
            if key.startswith(prefix)
        }
        tables[name] = MatchTable(**fields)
    return MatchRecords(samples=Samples.from_arrays(arrays), tables=tables, header=header)
