"""The journal of looks: which runs of two arms, or of a series, a verdict has been shown of.

A look is one file of `looks/` in the results folder, made exclusively, and its name says it all: the two
arms (of a series one, and what is swept), the number of the look, and a hash of the runs. Runs that end
after a look say so in their own metrics, so that a journal that was deleted makes no verdict stronger.
"""

import contextlib
import hashlib
import json
import os
import re
from collections import defaultdict
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from aqr_exp.errors import refusal
from aqr_exp.files.run_name import arm_of, first_of

if TYPE_CHECKING:
    from aqr_exp.store.collect import RunRow

LOOKS = "looks"
"""The journal's folder; in metrics: the looks at the arm before its run ended, by a hash of the other."""

CONFIRMED = "confirmed"
"""The question about fresh seeds, whose looks are counted apart from those at the arms as they are."""

SERIES = "series"
"""The question of a whole sweep over numbers: each arm of it beside what is swept, with the runs of all."""

_NAME = re.compile(r"([0-9a-f]{16})-([0-9a-f]{16})-(\d{1,9})-([0-9a-f]{16})\Z")
_CURVE = re.compile(r" after epoch \d+\Z")
Pair = tuple[str, str]
"""Hashes of a reference and of an arm."""

Rows = Sequence["RunRow"]


class Looks:
    """The journal of one results folder, as it was when this object was made, and what is added here.

    Args:
        root: The results folder.
        planned: Runs that were meant before any ended: a look before all of an arm's are there does not
            take the place of the first one, which is theirs.
        question: Other than how the arms differ, such as `CONFIRMED`.
        beside: What stands in the other arm's place, whatever runs there are: the keys of a series.
    """

    def __init__(
        self, root: Path, planned: Collection[str] = (), question: str = "", beside: str = ""
    ) -> None:
        self._beside = beside
        self._folder = root / LOOKS
        self._known = _read(self._folder)
        self._planned = frozenset(planned)
        self._question = question

    def number(self, reference: Rows, other: Rows) -> int:
        """Which look at the two arms this is, or would be: 1 is the first at all that was planned."""
        pair, state = self._pair(reference, other), _hash(*_names(reference, other))
        entries = self._known.get(pair, [])
        if entries and {one for at, one in entries if at == 1} == {state}:
            return 1
        ours = min((at for at, one in entries if one == state), default=None)
        before = {one for at, one in entries if one != state and (ours is None or at <= ours)}
        early = not entries and self._first(reference, other) != state
        marks = self._marks(reference, other)
        return max(ours or 1, 1 + len(before), 1 + marks, 1 + early)

    def record(self, reference: Rows, other: Rows) -> str:
        """Write down that a verdict on two arms is shown; returns why that cannot be, or nothing."""
        pair, names = self._pair(reference, other), _names(reference, other)
        entries, state = self._known.get(pair, []), _hash(*names)
        due = {} if state in {one for _, one in entries} else {self.number(reference, other): state}
        first = self._first(reference, other)
        if not entries and first != state and not self._marks(reference, other):
            due[1] = first  # kept for the planned runs, for no others
        try:
            for number, one in due.items():
                path = self._folder / f"{pair[0]}-{pair[1]}-{number}-{one}"
                self._folder.mkdir(parents=True, exist_ok=True)
                with contextlib.suppress(FileExistsError), path.open("x") as file:
                    # Of a series each arm has a file of its own: its runs alone, or they grow too large.
                    shown = _names(reference) if self._beside else names
                    json.dump({"look": number, "shown": shown}, file)
        except OSError as error:
            return refusal(error).rule
        if due:
            self._known = _read(self._folder)  # another process may have looked meanwhile
        return ""

    def _marks(self, reference: Rows, other: Rows) -> int:
        """The looks at the two arms that their runs know of."""
        one, two = self._pair(reference, other)
        pairs = [(row, two) for row in reference] + [(row, one) for row in other]
        return max(_mark(*each) for each in pairs)

    def _first(self, reference: Rows, other: Rows) -> str:
        """The runs that the first look is for."""
        there = _names(reference, other)
        arms = {arm_of(name) for name in there}
        wanted = {name for name in self._planned if arm_of(name) in arms}
        return _hash(*(sorted(wanted) if wanted > {*map(first_of, there)} else there))

    def _pair(self, reference: Rows, other: Rows) -> Pair:
        one, two = (arm_of(_names(rows)[0]) for rows in (reference, other))
        return _hash(one, self._question), _hash(self._beside or two, self._question)


def looks_at(root: Path, run: str) -> dict[str, int]:
    """How often a run's arm was looked at until now, by a hash of the arm beside it."""
    ours = {_hash(arm_of(run), question) for question in ("", CONFIRMED, SERIES)}
    found: dict[str, int] = {}
    for pair, entries in _read(root / LOOKS).items():
        for arm, other in (pair, pair[::-1]):
            if arm in ours:
                found[other] = max(found.get(other, 0), *(at for at, _ in entries))
    return found


def _read(folder: Path) -> dict[Pair, list[tuple[int, str]]]:
    """Number and runs of every look, by its arms; none where there is no journal."""
    found: dict[Pair, list[tuple[int, str]]] = defaultdict(list)
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):  # noqa: PTH208 - names only
            if match := _NAME.match(name):
                found[match[1], match[2]].append((int(match[3]), match[4]))
    return dict(found)


def _names(*arms: Rows) -> list[str]:
    return sorted({_CURVE.sub("", row.name) for rows in arms for row in rows})


def _mark(row: "RunRow", other: str) -> int:
    marks = row.metrics.get(LOOKS)
    count = marks.get(other) if isinstance(marks, dict) else None
    return count if isinstance(count, int) else 0


def _hash(*names: str) -> str:
    return hashlib.sha256(json.dumps(names).encode()).hexdigest()[:16]
