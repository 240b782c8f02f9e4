"""Registry of the corruptions: name, severities and definition.

Keyframe, sweep, view and azimuth are nuScenes' terms; p is a probability.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from aqr_exp.data.classes import CAMERA_NAMES
from aqr_exp.errors import Fault, RequestError
from aqr_exp.files.suggest import did_you_mean

if TYPE_CHECKING:
    import numpy as np


RINGS: dict[str, tuple[int, ...]] = {
    "16": tuple(range(1, 32, 2)),
    "8": tuple(range(1, 32, 4)),
    "4": tuple(range(1, 32, 8)),
}
"""Rings, counted from 0, that `beams` keeps of the 32, by severity."""


@dataclass(frozen=True)
class Corruption:
    """A sensor corruption; severities go from mild to heavy where there is an order.

    The definition is one sentence, in which `s` is the severity.
    """

    name: str
    severities: tuple[str, ...]
    definition: str


_THREE = ("1", "2", "3")
_RATES = ("0.2", "0.4", "0.6")
_LIST = (
    Corruption(
        "lidar_drop",
        ("origin", "empty"),
        "origin: x, y and z of all points become 0; empty: the cloud has no points.",
    ),
    Corruption("camera_drop", ("all",), "All images become 0 before normalisation."),
    Corruption(
        "view_drop",
        _RATES,
        "Each view becomes 0 before normalisation with p = s; or s names the views that do, such "
        "as front+back_left.",
    ),
    Corruption(
        "beams",
        ("16", "8", "4"),
        "Of the keyframe and of each sweep, before they are merged, s of 32 rings stay: 16 = {1, "
        "3, .., 31}, 8 = {1, 5, .., 29}, 4 = {1, 9, 17, 25}.",
    ),
    Corruption(
        "points_drop",
        ("0.7", "0.8", "0.9"),
        "Of the N merged points, those with the round(s N) smallest of N uniform draws go.",
    ),
    Corruption(
        "limited_fov",
        ("90", "60"),
        "After merging, points with |atan2(x, y)| <= s degrees stay; +y is forward.",
    ),
    Corruption(
        "object_failure",
        ("0.5",),
        "With p = s for the frame, all merged points inside all annotated boxes go, borders "
        "included.",
    ),
    Corruption(
        "occlusion",
        _THREE,
        "Each view gets 10, 20 or 40 opaque discs of dirt (blue 20, green 30, red 40), centres "
        "uniform in the image, radii uniform in 2 to 10 % of its height.",
    ),
    Corruption("dark", _THREE, "Each value v becomes round(g v), g = 0.4, 0.2, 0.1."),
    Corruption("fog", _THREE, "Each value v becomes round(t v + (1 - t) 200), t = 0.6, 0.4, 0.2."),
    Corruption(
        "blur",
        _THREE,
        "A Gaussian filter, sigma = 2, 4, 8 pixels of an image 900 pixels high and in proportion "
        "for others.",
    ),
    Corruption(
        "noise",
        _THREE,
        "Each value v becomes round(v + n) within 0 to 255, n normal with sd = 20, 40, 80, drawn "
        "for every pixel and channel.",
    ),
    Corruption(
        "spatial_misalignment",
        _THREE,
        "With p = 0.2, 0.4, 0.6 for the frame, the merged points turn by 1, 2, 3 degrees about x, "
        "then y, then z, each to a drawn side, and move 2 m to a drawn azimuth; the calibration "
        "stays the same.",
    ),
    Corruption(
        "temporal_misalignment",
        _RATES,
        "With p = s for the frame, either the LiDAR (keyframe and sweeps) or all images, drawn "
        "evenly, are those of the previous keyframe; the calibration stays the same.",
    ),
    Corruption(
        "stuck_lidar",
        ("2", "4", "8"),
        "Only every s-th keyframe of a scene, from its first, brings new LiDAR data; the others "
        "repeat the last; the calibration stays the same.",
    ),
    Corruption(
        "stuck_cameras",
        ("2", "4", "8"),
        "Only every s-th keyframe of a scene, from its first, brings new images; the others "
        "repeat the last; the calibration stays the same.",
    ),
)

CORRUPTIONS: Mapping[str, Corruption] = MappingProxyType({item.name: item for item in _LIST})


ALL = "all"
AT, AND = "@", "+"
VIEWS = tuple(name.removeprefix("CAM_").lower() for name in CAMERA_NAMES)
"""The views as they are typed, in the models' order."""


@dataclass(frozen=True, kw_only=True)
class CorruptionCase:
    """A corruption of `CORRUPTIONS` at one severity; for `view_drop` also views joined with `+`."""

    corruption: str
    severity: str

    @property
    def name(self) -> str:
        """Name as typed and as its folder is called, such as `beams@4`."""
        return f"{self.corruption}{AT}{self.severity}"

    @property
    def definition(self) -> Corruption:
        """The corruption that this is a case of."""
        return CORRUPTIONS[self.corruption]

    @property
    def views(self) -> tuple[str, ...]:
        """Camera names of a `view_drop` with named views; empty where views are drawn."""
        named = self.severity.split(AND)
        return tuple(
            camera for camera, view in zip(CAMERA_NAMES, VIEWS, strict=True) if view in named
        )

    @property
    def standard(self) -> bool:
        """True for cases that `all` includes and that means are taken over."""
        return self.severity in self.definition.severities

    def rng(self, token: str) -> "np.random.Generator":
        """Random generator of one sample: a function of (token, corruption, severity) alone."""
        import numpy as np

        digest = hashlib.sha256(f"{token}\n{self.corruption}\n{self.severity}".encode()).digest()
        return np.random.default_rng(int.from_bytes(digest[:16], "big"))


def standard_cases() -> list[CorruptionCase]:
    """Every corruption at every severity, in the registry's order."""
    return [case for corruption in CORRUPTIONS.values() for case in cases_of(corruption)]


def cases_of(corruption: Corruption) -> list[CorruptionCase]:
    """A corruption at each of its severities."""
    return [
        CorruptionCase(corruption=corruption.name, severity=level)
        for level in corruption.severities
    ]


def read_cases(text: str) -> list[CorruptionCase]:
    """Parse cases, each once: `all`, or comma-separated `NAME` and `NAME@SEVERITY`.

    Raises:
        RequestError: A line for each unknown failure or severity, with the nearest match.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words:
        raise RequestError(f"no failures named: {ALL}, or some of {', '.join(CORRUPTIONS)}")
    found: list[CorruptionCase] = []
    faults: list[Fault] = []
    for word in words:
        try:
            found += _read(word)
        except RequestError as error:
            faults += error.faults
    if faults:
        raise RequestError(*faults)
    return list(dict.fromkeys(found))


def _read(word: str) -> list[CorruptionCase]:
    if word == ALL:
        return standard_cases()
    name, at, severity = word.partition(AT)
    if name not in CORRUPTIONS:
        raise RequestError(
            f"unknown failure '{name}'{did_you_mean(name, CORRUPTIONS)} "
            f"(available: {ALL}, {', '.join(CORRUPTIONS)})"
        )
    corruption = CORRUPTIONS[name]
    if not at:
        return cases_of(corruption)
    if severity in corruption.severities:
        return [CorruptionCase(corruption=name, severity=severity)]
    if name == "view_drop":
        return [CorruptionCase(corruption=name, severity=_views(severity))]
    raise RequestError(
        f"{name}: unknown severity '{severity}'{did_you_mean(severity, corruption.severities)} "
        f"(available: {', '.join(corruption.severities)})"
    )


def _views(text: str) -> str:
    """Named views in the models' order, so that a subset has one name."""
    named: Sequence[str] = [word.removeprefix("CAM_").lower() for word in text.split(AND)]
    for view in named:
        if view not in VIEWS:
            levels = CORRUPTIONS["view_drop"].severities
            raise RequestError(
                f"view_drop: unknown severity or view '{view}'{did_you_mean(view, VIEWS)} "
                f"(available: {', '.join(levels)}, or of {', '.join(VIEWS)} some joined with {AND})"
            )
    return AND.join(view for view in VIEWS if view in named)
