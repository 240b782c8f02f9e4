"""Registry of the corruptions: name, severities and definition.

Keyframe, sweep, view and azimuth are nuScenes' terms; p is a probability.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from aqr_exp.config.schema.description import NUSCENES
from aqr_exp.errors import Fault, RequestError, cut
from aqr_exp.files.suggest import did_you_mean, some

if TYPE_CHECKING:
    import numpy as np


ALL = "all"  # the project's own corruptions
_SUITES = {"mc": "multicorrupt", "nr": "nuscenes_r", "r3d": "robo3d"}
SUITES = (ALL, *_SUITES.values())
"""Names that stand for many corruptions; each has means of its own."""

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
    suite: str


_FILE = "Each LiDAR file (keyframe and sweeps, before they are merged)"
_PICTURE = "each image, which is then stored as JPEG"
_STUCK = "before come again in s % of the split's keyframes, drawn for"
_DEFINITIONS = {
    "lidar_drop": "origin: all five columns of all points become 0; empty: the cloud has no points.",
    "camera_drop": "All images become 0 before normalisation.",
    "view_drop": "Each view becomes 0 before normalisation with p = s; or s names the views that do, "
    "such as front+back_left.",
    "beams": "Of the keyframe and of each sweep, before they are merged, s of 32 rings stay: 16 = {1, "
    "3, .., 31}, 8 = {1, 5, .., 29}, 4 = {1, 9, 17, 25}.",
    "points_drop": "Of the N merged points, those with the round(s N) smallest of N uniform draws go.",
    "limited_fov": "After merging, points with |atan2(x, y)| <= s degrees stay; +y is forward.",
    "object_failure": "With p = s for the frame, all merged points inside all annotated boxes go, "
    "borders included.",
    "occlusion": "Each view gets 10, 20 or 40 opaque discs of dirt (blue 20, green 30, red 40), centres "
    "uniform in the image, radii uniform in 2 to 10 % of its height.",
    "dark": "Each value v becomes round(g v), g = 0.4, 0.2, 0.1.",
    "fog": "Each value v becomes round(t v + (1 - t) 200), t = 0.6, 0.4, 0.2.",
    "blur": "A Gaussian filter, sigma = 2, 4, 8 pixels of an image 900 pixels high and in proportion "
    "for others.",
    "noise": "Each value v becomes round(v + n) within 0 to 255, n normal with sd = 20, 40, 80, drawn "
    "for every pixel and channel.",
    "spatial_misalignment": "With p = 0.2, 0.4, 0.6 for the frame, the merged points turn by 1, 2, 3 "
    "degrees about x, then y, then z, each to a drawn side, and move 2 m to a drawn azimuth; the "
    "calibration stays the same.",
    "temporal_misalignment": "With p = s for the frame, either the LiDAR (keyframe and sweeps) or all "
    "images, drawn evenly, are those of the previous keyframe; the calibration stays the same.",
    "stuck_lidar": "Only every s-th keyframe of a scene, from its first, brings new LiDAR data; the "
    "others repeat the last; the calibration stays the same.",
    "stuck_cameras": "Only every s-th keyframe of a scene, from its first, brings new images; the "
    "others repeat the last; the calibration stays the same.",
    "mc_beamsreducing": f"{_FILE} keeps 16, 8, 4 of 32 rings, as `beams`.",
    "mc_brightness": f"HSV's value rises by 0.5, 0.6, 0.7, cut to 1: {_PICTURE}.",
    "mc_dark": "Stretched to 0 to 1, squared, times 0.6, 0.4, 0.3; Poisson noise of 250, 120, 50 photons, "
    f"then normal noise of sd 0.008, 0.018, 0.026: {_PICTURE}.",
    "mc_fog": f"{_FILE}: attenuation 0.02, 0.03, 0.06 /m, backscattering 0.008, 0.008, 0.05 /sr, points of "
    f"the fog scattered by 10 m; plasma of weight 2, 3, 4, and grey: {_PICTURE}.",
    "mc_missingcamera": f"Black with p = 0.2, 0.4, 0.6: {_PICTURE}.",
    "mc_motionblur": f"{_FILE} shifts by a normal draw of sd 0.06, 0.10, 0.13 m an axis, each point by "
    f"15, 20, 12 % of it; half a Gaussian of sigma 6, 10, 13 pixels at -45 to 45 degrees: {_PICTURE}.",
    "mc_pointsreducing": f"{_FILE} keeps round(30, 20, 10 %) of its points, in a drawn order.",
    "mc_snow": f"{_FILE}: flakes of 0.5, 2.5, 1.5 mm/h at 1.2, 1.6, 0.4 m/s hide or weaken points, and "
    f"what the road's echoes call noise goes; smeared flakes over paler colours: {_PICTURE}.",
    "mc_spatialmisalignment": f"{_FILE}, with p = 0.2, 0.4, 0.6, turns by -1, -2, -3 degrees about z, y, x "
    "and moves 2 m along x.",
    "mc_temporalmisalignment": "With p = 0.2, 0.4, 0.6 the LiDAR and, each by itself, the cameras deliver "
    f"the data of the info file's entry before: {_PICTURE}.",
    "nr_stuck_lidar": f"The points of the keyframe {_STUCK} the LiDAR.",
    "nr_stuck_cameras": f"The images of the keyframe {_STUCK} each camera.",
    "nr_extrinsics": "Cameras turn about the vehicle's origin by 0.5 to 2.5 degrees about a drawn axis "
    "and move by 5 to 10 mm along each; single: each by itself, all: together.",
    "r3d_beam_missing": "Keyframes lose the rings that 8, 16, 24 draws of 2 to 28 name.",
    "r3d_cross_sensor": "Keyframes keep every second point of the rings without {1, 5, ..}, "
    "{1, 3, ..} or 24 of 32.",
    "r3d_crosstalk": "3, 7, 12 % of keyframes' points get normal noise of sd 3 in x, y, z, intensity.",
}
_RATES, _EVERY, _HEAVY = ("0.2", "0.4", "0.6"), ("2", "4", "8"), ("light", "moderate", "heavy")
_TENTHS = tuple(f"{tenth}0" for tenth in range(1, 10))
_SEVERITIES = {
    "lidar_drop": ("origin", "empty"),
    "camera_drop": ("all",),
    **dict.fromkeys(("view_drop", "temporal_misalignment"), _RATES),
    "beams": tuple(RINGS),
    "points_drop": ("0.7", "0.8", "0.9"),
    "limited_fov": ("90", "60"),
    "object_failure": ("0.5",),
    **dict.fromkeys(("stuck_lidar", "stuck_cameras"), _EVERY),
    **dict.fromkeys(("nr_stuck_lidar", "nr_stuck_cameras"), _TENTHS),
    "nr_extrinsics": ("single", "all"),
    **dict.fromkeys(("r3d_beam_missing", "r3d_cross_sensor", "r3d_crosstalk"), _HEAVY),
}

CORRUPTIONS: Mapping[str, Corruption] = MappingProxyType(
    {
        name: Corruption(
            name=name,
            severities=_SEVERITIES.get(name, ("1", "2", "3")),
            definition=text,
            suite=_SUITES.get(name.partition("_")[0], ALL),
        )
        for name, text in _DEFINITIONS.items()
    }
)


AT, AND = "@", "+"


@dataclass(frozen=True)
class CorruptionCase:
    """A corruption of `CORRUPTIONS` at one severity; for `view_drop` also views joined with `+`.

    The channels are those of the data it happens to, the LiDAR's first.
    """

    corruption: str
    severity: str
    sensors: tuple[str, ...] = field(default=NUSCENES.sensors, compare=False)

    @property
    def name(self) -> str:
        """Name as typed and as its folder is called, such as `beams@4`."""
        return f"{self.corruption}{AT}{self.severity}"

    @property
    def level(self) -> int:
        """Position of the severity among those of the corruption, from 0."""
        return self.definition.severities.index(self.severity)

    @property
    def definition(self) -> Corruption:
        """The corruption that this is a case of."""
        return CORRUPTIONS[self.corruption]

    @property
    def views(self) -> tuple[str, ...]:
        """The views that a `view_drop` names; empty where views are drawn."""
        named = self.corruption == "view_drop" and self.severity not in self.definition.severities
        return tuple(self.severity.split(AND)) if named else ()

    def rng(self, token: str) -> "np.random.Generator":
        """Random generator of one sample or file: a function of (token, corruption, severity) alone.

        Those of publications leave out the severity: what is hit at a mild one is hit at a heavy one.
        """
        import numpy as np

        severity = f"\n{self.severity}" if self.definition.suite == ALL else ""
        digest = hashlib.sha256(f"{token}\n{self.corruption}{severity}".encode()).digest()
        return np.random.default_rng(int.from_bytes(digest[:16], "big"))


def standard_cases(suite: str | None = ALL) -> list[CorruptionCase]:
    """A suite's corruptions at every severity, in the registry's order; None takes all suites."""
    found = (item for item in CORRUPTIONS.values() if suite in (None, item.suite))
    return [case for corruption in found for case in cases_of(corruption)]


def failures_of(suite: str) -> list[str]:
    """Names of a suite's corruptions."""
    return [name for name, item in CORRUPTIONS.items() if item.suite == suite]


def cases_of(corruption: Corruption) -> list[CorruptionCase]:
    """A corruption at each of its severities."""
    return [CorruptionCase(corruption.name, level) for level in corruption.severities]


def read_cases(text: str, views: Sequence[str] = NUSCENES.views) -> list[CorruptionCase]:
    """Parse cases, each once: suites, `NAME` and `NAME@SEVERITY` with commas between.

    Args:
        views: Those of the data, in their order.

    Raises:
        RequestError: A line for each unknown failure or severity, with the nearest match.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words:
        raise RequestError(f"no failures named: {_known()}")
    found: list[CorruptionCase] = []
    faults: list[Fault] = []
    for word in words:
        try:
            found += _read(word, views)
        except RequestError as error:
            faults += error.faults
    if faults:
        raise RequestError(*faults)
    return list(dict.fromkeys(found))


def _known() -> str:
    return f"{', '.join(SUITES)}, or of {some(CORRUPTIONS, most=30)}"


def _read(word: str, views: Sequence[str]) -> list[CorruptionCase]:
    if word in SUITES:
        return standard_cases(word)
    name, at, severity = word.partition(AT)
    if name in SUITES:
        raise RequestError(f"{name}: a severity goes with one failure: type {name} alone")
    if name not in CORRUPTIONS:
        nearest = did_you_mean(name, [*SUITES, *CORRUPTIONS])
        raise RequestError(
            f"unknown failure {cut(repr(name), 40)}{nearest} (available: {_known()})"
        )
    corruption = CORRUPTIONS[name]
    if not at:
        return cases_of(corruption)
    if severity in corruption.severities:
        return [CorruptionCase(corruption=name, severity=severity)]
    if name == "view_drop":
        return [CorruptionCase(corruption=name, severity=_views(severity, views))]
    raise RequestError(
        f"{name}: unknown severity '{severity}'{did_you_mean(severity, corruption.severities)} "
        f"(available: {', '.join(corruption.severities)})"
    )


def _views(text: str, views: Sequence[str]) -> str:
    """Named views in the data's order, so that a subset has one name."""
    named: Sequence[str] = [word.removeprefix("CAM_").lower() for word in text.split(AND)]
    for view in named:
        if view not in views:
            levels = CORRUPTIONS["view_drop"].severities
            raise RequestError(
                f"view_drop: unknown severity or view '{view}'{did_you_mean(view, views)} "
                f"(available: {', '.join(levels)}, or of {', '.join(views)} some joined with {AND})"
            )
    return AND.join(view for view in views if view in named)
