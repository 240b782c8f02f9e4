"""Registry of the corruptions, which `cases.yaml` defines, and their cases as they are typed."""

import hashlib
import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

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


_FILE = Path(__file__).with_name("cases.yaml")


def _read_registry() -> Iterator[Corruption]:
    yaml: Any = importlib.import_module("yaml")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    for name, item in yaml.load(_FILE.read_text(encoding="utf-8"), Loader=loader).items():
        suite = _SUITES.get(name.partition("_")[0], ALL)
        yield Corruption(name, tuple(item["severities"]), item["definition"], suite)


CORRUPTIONS: Mapping[str, Corruption] = MappingProxyType({c.name: c for c in _read_registry()})


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
