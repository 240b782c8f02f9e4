"""A failure at one severity: its name, how it is typed, and its random draws."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aqr_exp.config.nearest import did_you_mean
from aqr_exp.data.classes import CAMERA_NAMES
from aqr_exp.data.failures.registry import FAILURES, Failure
from aqr_exp.errors import RequestError

if TYPE_CHECKING:
    import numpy as np

ALL = "all"
AT, AND = "@", "+"
VIEWS = tuple(name.removeprefix("CAM_").lower() for name in CAMERA_NAMES)
"""The views as they are typed, in the models' order."""


@dataclass(frozen=True, kw_only=True)
class FailureCase:
    """A failure at one severity.

    Attributes:
        failure: A name of `FAILURES`.
        severity: One of its severities; for `view_drop` also views joined with `+`.
    """

    failure: str
    severity: str

    @property
    def name(self) -> str:
        """As it is typed, and as its folder is called: `beams@4`."""
        return f"{self.failure}{AT}{self.severity}"

    @property
    def definition(self) -> Failure:
        """What it is a case of."""
        return FAILURES[self.failure]

    @property
    def views(self) -> tuple[str, ...]:
        """The camera names a `view_drop` names; empty where it draws them."""
        named = self.severity.split(AND)
        return tuple(
            camera for camera, view in zip(CAMERA_NAMES, VIEWS, strict=True) if view in named
        )

    @property
    def standard(self) -> bool:
        """Whether it is among those that `all` means and that a mean is over."""
        return self.severity in self.definition.severities

    def rng(self, token: str) -> "np.random.Generator":
        """The draws of one sample: a function of (token, failure, severity) alone.

        Args:
            token: The sample's token.
        """
        import numpy as np

        digest = hashlib.sha256(f"{token}\n{self.failure}\n{self.severity}".encode()).digest()
        return np.random.default_rng(int.from_bytes(digest[:16], "big"))


def standard_cases() -> list[FailureCase]:
    """Every failure at every severity, in the registry's order."""
    return [case for failure in FAILURES.values() for case in cases_of(failure)]


def cases_of(failure: Failure) -> list[FailureCase]:
    """A failure at each of its severities."""
    return [FailureCase(failure=failure.name, severity=level) for level in failure.severities]


def read_cases(text: str) -> list[FailureCase]:
    """Cases as they are typed: `all`, or `NAME` and `NAME@SEVERITY` with commas between.

    Args:
        text: What was typed.

    Returns:
        The cases, each once.

    Raises:
        RequestError: A line for each unknown failure or severity, with the nearest match.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words:
        raise RequestError(f"no failures named: {ALL}, or some of {', '.join(FAILURES)}")
    found: list[FailureCase] = []
    faults = []
    for word in words:
        try:
            found += _read(word)
        except RequestError as error:
            faults.append(str(error))
    if faults:
        raise RequestError("\n".join(faults))
    return list(dict.fromkeys(found))


def _read(word: str) -> list[FailureCase]:
    if word == ALL:
        return standard_cases()
    name, at, severity = word.partition(AT)
    if name not in FAILURES:
        raise RequestError(
            f"unknown failure '{name}'{did_you_mean(name, FAILURES)} "
            f"(available: {ALL}, {', '.join(FAILURES)})"
        )
    failure = FAILURES[name]
    if not at:
        return cases_of(failure)
    if severity in failure.severities:
        return [FailureCase(failure=name, severity=severity)]
    if name == "view_drop":
        return [FailureCase(failure=name, severity=_views(severity))]
    raise RequestError(
        f"{name}: unknown severity '{severity}'{did_you_mean(severity, failure.severities)} "
        f"(available: {', '.join(failure.severities)})"
    )


def _views(text: str) -> str:
    """Named views in the models' order, so that a subset has one name."""
    named: Sequence[str] = [word.removeprefix("CAM_").lower() for word in text.split(AND)]
    for view in named:
        if view not in VIEWS:
            levels = FAILURES["view_drop"].severities
            raise RequestError(
                f"view_drop: unknown severity or view '{view}'{did_you_mean(view, VIEWS)} "
                f"(available: {', '.join(levels)}, or of {', '.join(VIEWS)} some joined with {AND})"
            )
    return AND.join(view for view in VIEWS if view in named)
