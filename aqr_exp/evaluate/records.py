"""Match records: the samples of a split and their matched detections, from which all metrics follow.

Letters: S samples, T scenes, C classes, P detections, M of them matched at 2 m.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, UInt

from aqr_exp.config.convert import convert
from aqr_exp.config.schema.description import NUSCENES, DataDescription
from aqr_exp.errors import AqrExpError, RequestError
from aqr_exp.evaluate.protocol import ERROR_MATCH, MATCH_DISTANCES_M
from aqr_exp.files.arrays import read_arrays, write_arrays

_CONDITION_WORDS = {
    name: re.compile(rf"\b{name}", re.IGNORECASE)  # the description has a word that begins so
    for name in ("night", "rain")
}


def is_under(condition: str, description: str) -> bool:
    """True if a scene's description names a condition: `night` or `rain`."""
    return bool(_CONDITION_WORDS[condition].search(description))


@dataclass(frozen=True, kw_only=True, eq=False)
class SplitSamples:
    """The samples of a split, in the order of nuScenes' table.

    Attributes:
        tokens: S sample tokens.
        scene: Index of each sample's scene in `scene_names`.
        scene_names: T names.
        scene_descriptions: T descriptions, which name the conditions.
    """

    tokens: tuple[str, ...]
    scene: Int[np.ndarray, " S"]
    scene_names: tuple[str, ...]
    scene_descriptions: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.tokens)

    def under(self, condition: str) -> Bool[np.ndarray, " S"]:
        """Mask of the samples under `night` or `rain`, by words of the scene's description."""
        scenes = [is_under(condition, text) for text in self.scene_descriptions]
        return np.array(scenes, dtype=bool)[self.scene]

    def arrays(self) -> dict[str, np.ndarray]:
        """Arrays for a file."""
        return {
            "sample_token": np.array(self.tokens, dtype=np.str_),
            "sample_scene": self.scene,
            "scene_name": np.array(self.scene_names, dtype=np.str_),
            "scene_description": np.array(self.scene_descriptions, dtype=np.str_),
        }

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> "SplitSamples":
        """Restore from the arrays of a file; other arrays are ignored."""
        return cls(
            tokens=tuple(arrays["sample_token"].tolist()),
            scene=arrays["sample_scene"],
            scene_names=tuple(arrays["scene_name"].tolist()),
            scene_descriptions=tuple(arrays["scene_description"].tolist()),
        )


_KIND = "match records, form 1"

WHOLE = "all"
"""The table of all boxes."""

BANDS_M = {"0-20m": (0.0, 20.0), "20-30m": (20.0, 30.0), "30-50m": (30.0, 50.0)}
"""Tables of the boxes whose distance from the vehicle is at least the first and less than the second."""


DISTANCES = range(len(MATCH_DISTANCES_M))


@dataclass(frozen=True, kw_only=True, eq=False)
class MatchTable:
    """Matched detections by class and rank: falling score, ties as the benchmark breaks them.

    Attributes:
        class_start: First detection of each class; the last entry is P.
        sample: Index of each detection's sample.
        score: Its score, as a number that holds it exactly.
        matched: Bit `i` is set where it matches at `MATCH_DISTANCES_M[i]`.
        errors: The five true-positive errors of those matched at 2 m, in their order; NaN where undefined.
        truths: Ground truths of each class in each sample.
    """

    class_start: Int[np.ndarray, " borders"]
    sample: UInt[np.ndarray, " P"]
    score: Float[np.ndarray, " P"]
    matched: UInt[np.ndarray, " P"]
    errors: Float[np.ndarray, "M 5"]
    truths: UInt[np.ndarray, "S C"]

    def rows(self, label: int) -> slice:
        """Slice of a class's detections."""
        return slice(int(self.class_start[label]), int(self.class_start[label + 1]))

    def hits(self, label: int, distance: int) -> Bool[np.ndarray, " rows"]:
        """Mask of a class's detections that match at `MATCH_DISTANCES_M[distance]`."""
        return (self.matched[self.rows(label)] >> distance & 1).astype(bool)

    def class_errors(self, label: int) -> Float[np.ndarray, "matches 5"]:
        """Errors of a class's detections that match at 2 m, in their order."""
        first = sum(int(self.hits(earlier, ERROR_MATCH).sum()) for earlier in range(label))
        return self.errors[first : first + int(self.hits(label, ERROR_MATCH).sum())]


def smallest_unsigned(values: np.ndarray) -> np.ndarray:
    """Whole numbers of 0 or more in as few bytes as they need."""
    return values.astype(np.min_scalar_type(int(values.max(initial=0))))


def exact_floats(values: np.ndarray) -> np.ndarray:
    """Finite numbers in four bytes, where that loses nothing."""
    short = values.astype(np.float32)
    return short if np.array_equal(short, values) else values


@dataclass(frozen=True, kw_only=True, eq=False)
class MatchRecords:
    """Matches of a run on a split, independent of the data and the result file they were made from.

    Attributes:
        samples: The split's samples and scenes.
        tables: Match tables: `all`, and one for each range band.
        header: The protocol, the split, the description of data other than nuScenes, and values added
            by the caller.
    """

    samples: SplitSamples
    tables: Mapping[str, MatchTable]
    header: Mapping[str, Any]

    @cached_property
    def description(self) -> DataDescription:
        """The classes they are of.

        Raises:
            RequestError: The header holds no such description.
        """
        stored = self.header.get("description")
        return NUSCENES if stored is None else convert(DataDescription, stored)


def part(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """Those arrays of a file whose names begin with a prefix, without it."""
    return {
        name.removeprefix(prefix): value
        for name, value in arrays.items()
        if name.startswith(prefix)
    }


def write_records(path: Path, records: MatchRecords) -> None:
    """Write records to a file in an existing folder, in one step.

    Raises:
        OSError: Writing failed; the old file is untouched.
    """
    arrays = records.samples.arrays()
    for name, table in records.tables.items():
        arrays.update({f"{name}/{field}": value for field, value in vars(table).items()})
    header = {**records.header, "tables": list(records.tables)}
    write_arrays(path, _KIND, arrays, header)


def read_records(path: Path) -> MatchRecords:
    """Read records from a file.

    Raises:
        AqrExpError: It is missing, damaged or no such file; names it.
    """
    arrays, header = read_arrays(path, _KIND)
    try:
        del header["kind"]
        tables = {name: MatchTable(**part(arrays, f"{name}/")) for name in header.pop("tables")}
        found = MatchRecords(samples=SplitSamples.from_arrays(arrays), tables=tables, header=header)
        classes = len(found.description.classes)
        if any(table.truths.shape[1] != classes for table in tables.values()):
            raise ValueError("of other classes")
        return found
    except (RequestError, TypeError, LookupError, ValueError, AttributeError):
        raise AqrExpError(f"{path} is damaged: it holds other arrays than match records") from None
