"""One curve from the history of a run that was resumed: what a later attempt did again counts once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aqr_exp.results.history import ATTEMPT

Line = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Joint:
    """Where an attempt took over.

    Attributes:
        attempt: Its number.
        epoch: The epoch of its first training line; None when that does not say.
        step: The step of that line; the steps between the resume and it were not logged.
    """

    attempt: int
    epoch: int | None
    step: int

    def __str__(self) -> str:
        """Such as `attempt 2 from epoch 3 (step 330)`."""
        epoch = "" if self.epoch is None else f"epoch {self.epoch} "
        return f"attempt {self.attempt} from {epoch}(step {self.step})"


def joints(history: Sequence[Line]) -> list[Joint]:
    """Where each attempt after the first took over, in the order they were made.

    Args:
        history: All lines as they were written. In those of older versions, which do not say their
            attempt, a step that does not rise begins the next one.
    """
    found: list[Joint] = []
    attempt, last = 1, None
    for line in history:
        if not _is_train(line):
            continue
        if _takes_over(line, last):
            attempt = line.get(ATTEMPT, attempt + 1)
            found.append(Joint(attempt=attempt, epoch=line.get("epoch"), step=line["step"]))
        last = line
    return found


def stitched(history: Sequence[Line]) -> list[Line]:
    """The lines that count: of what was done again after a resume, the last.

    Args:
        history: All lines as they were written.

    Returns:
        Without the lines of an attempt from where a later one took over, in the same order.
    """
    kept: list[Line] = []
    last = None
    for line in history:
        if _is_train(line):
            if _takes_over(line, last):
                kept = [earlier for earlier in kept if not _is_replaced(earlier, line)]
            last = line
        kept.append(line)
    return kept


def _is_train(line: Line) -> bool:
    return line.get("kind") == "train" and isinstance(line.get("step"), int)


def _takes_over(line: Line, last: Line | None) -> bool:
    """Whether a training line is the first of another attempt than the one before it."""
    if last is None:
        return bool(line.get(ATTEMPT, 1) > 1)
    return line.get(ATTEMPT) != last.get(ATTEMPT) or bool(line["step"] <= last["step"])


def _is_replaced(earlier: Line, first: Line) -> bool:
    """Whether a line is of what an attempt that begins with the line `first` does again."""
    if ATTEMPT in earlier and earlier[ATTEMPT] == first.get(ATTEMPT) and not _is_train(earlier):
        return False  # it begins with more than its training line
    if isinstance(earlier.get("step"), int):
        return bool(earlier["step"] >= first["step"])
    epochs = earlier.get("epoch"), first.get("epoch")
    # A line without a step is of the end of its epoch.
    return isinstance(epochs[0], int) and isinstance(epochs[1], int) and epochs[0] >= epochs[1]
