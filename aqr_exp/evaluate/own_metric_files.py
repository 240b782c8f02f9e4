"""The files of metrics of one's own: found by name, imported, and their code run under guard.

docs/metrics.md tells how to write one. Letters: K numbers of a sample.
"""

import io
import json
import math
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from types import FunctionType
from typing import Any, NoReturn

from aqr_exp.config.idea_files import FOLDER as IDEAS
from aqr_exp.config.idea_files import (
    IdeaPlace,
    idea_fault,
    name_fault,
    search_folders,
    shown_path,
)
from aqr_exp.config.idea_spec import imported
from aqr_exp.config.identity import short_hash
from aqr_exp.config.sources import Root, closure
from aqr_exp.errors import AqrExpError, Fault, RequestError, cut, shown
from aqr_exp.evaluate.protocol import ERROR_NAMES
from aqr_exp.files.suggest import did_you_mean, some
from aqr_exp.files.text import printable


@dataclass(frozen=True, kw_only=True)
class OwnMetric:
    """A metric as its file says.

    Attributes:
        source: Hash of what it computes.
        measure: From a sample to K numbers, or where it pools to rows of them.
        number: From their sums, or from all rows and how often each counts, to the metric; None divides
            the first sum by the second.
        bounds: The least and the largest value it can have.
    """

    name: str
    path: Path
    source: str
    less_is_better: bool
    bounds: tuple[float, float]
    measure: Callable[[Any], Any]
    number: Callable[..., Any] | None

    @property
    def pools(self) -> bool:
        """Whether it needs all rows, not their sums."""
        return self.number is not None and _arguments(self.number) == 2

    def refuse(self, rule: str) -> NoReturn:
        """Refuse what it gives, naming its file and line.

        Raises:
            RequestError: Always.
        """
        _refuse_at(self.path, self.measure.__code__.co_firstlineno, rule)


MOST_SECONDS = 10.0
"""A metric's own code may take so long at a time."""


class _StopError(BaseException):
    """Stops a metric's own code, which may hold up any `Exception`."""


class _NoOutput(io.TextIOBase):
    def write(self, text: str) -> int:
        raise _StopError(f"prints {cut(text.strip(), 40)!r}")


@contextmanager
def own_code(path: Path, about: str = "") -> Iterator[None]:
    """Let a metric's own code run: it may neither fail nor print, nor take long.

    Raises:
        RequestError: It does; names the line.
    """
    said = _NoOutput()
    try:
        with redirect_stdout(said), redirect_stderr(said), _in_time(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (Exception, SystemExit, _StopError) as error:
        if isinstance(error, RequestError):
            raise
        fault = idea_fault(error, path)
        words = str(error) if isinstance(error, _StopError) else fault.rule
        raise RequestError(replace(fault, rule=cut(printable(words), 90), hint=about)) from None


@contextmanager
def _in_time() -> Iterator[None]:
    """End what takes long; only a process's main thread can."""

    def stop(*_: Any) -> NoReturn:
        raise _StopError(f"takes more than {MOST_SECONDS:g} s")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, MOST_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _refuse_at(path: Path, line: int, rule: str) -> NoReturn:
    raise RequestError(Fault(where=f"{shown_path(path)}:{line}", rule=rule)) from None


FOLDER = "metrics"
"""Of the working folder, in a folder of `$AQR_EXP_PATH`, and beside one of ideas."""


def metric_files(*results: Path) -> dict[str, Path]:
    """The files of own metrics by name, none imported; what lies in a results folder is none.

    Raises:
        RequestError: Two have one name.
    """
    found: dict[str, Path] = {}
    places = [
        place
        for folder in search_folders()
        for place in (
            [folder.parent / FOLDER] if folder.name == IDEAS else [folder / FOLDER, folder]
        )
    ]
    for path in (path for place in places for path in sorted(place.glob("*.py"))):
        other = path.stem.startswith(("_", "test_", "conftest")) or name_fault(path.stem)
        if other or any(path.resolve().is_relative_to(root.resolve()) for root in results):
            continue
        first = found.setdefault(path.stem, path)
        if first.resolve() != path.resolve():
            both = f"{shown_path(first)} and {shown_path(path)}"
            raise RequestError(f"two metrics are named {path.stem}: {both}")
    return found


def source_of(path: Path) -> str:
    """Hash of what a metric computes: its file and what that imports beside it, comments apart.

    Raises:
        RequestError: A file cannot be read; names it.
    """
    try:
        files, _ = closure([path], [Root(path.parent)])
    except AqrExpError as error:
        raise RequestError(str(error)) from None
    names = {os.path.relpath(file, path.parent): it.parsed.digest for file, it in files.items()}
    return short_hash(json.dumps(names, sort_keys=True))


def load_metric(name: str, *results: Path) -> OwnMetric:
    """Import the file of a metric.

    Args:
        results: As of `metric_files`.

    Raises:
        RequestError: There is none, it cannot be imported or is no metric; names the line.
    """
    files = metric_files(*results)
    if name not in files:
        hint = f"{did_you_mean(name, files)} (there: {some(files)})"
        raise RequestError(f"no own metric {shown(name)}: no file {FOLDER}/NAME.py{hint}")
    path = files[name]
    with own_code(path):
        given = vars(imported(IdeaPlace(path, path.stem)))
    better, measure_, number = (given.get(name) for name in ("better", "measure", "number"))
    bounds = given.get("bounds", (0.0 if better == "less" else -math.inf, math.inf))
    wrong = {
        f"{name} is a metric of the benchmark: give it another name": name.lower() in _OFFICIAL,
        "begins with no line that says what it measures": not (given["__doc__"] or "").strip(),
        f"better is {better!r}, not 'more' or 'less'": better not in ("more", "less"),
        "has no function measure(sample)": _arguments(measure_) != 1,
        "number takes sums, or rows and copies": number and _arguments(number) not in (1, 2),
        f"bounds are {cut(repr(bounds))}, not two rising numbers": not _rise(bounds),
    }
    for rule in (rule for rule, holds in wrong.items() if holds):
        _refuse_at(path, 1, rule)
    return OwnMetric(
        name=path.stem,
        path=path,
        source=source_of(path),
        less_is_better=better == "less",
        bounds=bounds,
        measure=measure_,  # type: ignore[arg-type]  # checked above
        number=number,
    )


_OFFICIAL = {name.lower() for name in ("mAP", "NDS", *ERROR_NAMES)}


def _arguments(function: Any) -> int:
    return function.__code__.co_argcount if isinstance(function, FunctionType) else -1


def _rise(bounds: Any) -> bool:
    numbers = isinstance(bounds, tuple) and all(isinstance(each, (int, float)) for each in bounds)
    return numbers and len(bounds) == 2 and bounds[0] < bounds[1]
