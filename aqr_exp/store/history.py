"""A run's scalars: one JSON object a line, each with a checksum, only ever appended to."""

import errno
import itertools
import json
import math
import os
import re
import statistics
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import msgspec

from aqr_exp.errors import AqrExpError, is_shortage
from aqr_exp.files.atomic import plain, writes
from aqr_exp.files.reading import open_regular

ATTEMPT = "attempt"
_CRC = "crc32"
_LONGEST = 1 << 20
_MOST = 2**53
_Scalar = Annotated[int, msgspec.Meta(ge=-_MOST, le=_MOST)] | float | str | bool | None
_LINE = msgspec.json.Decoder(
    dict[str, _Scalar | list[_Scalar | list[_Scalar]] | dict[str, _Scalar]]
)
_TAIL_BYTES = 24
_TAIL = re.compile(rb'(?:, )?"crc32": "([0-9a-f]{8})"\}\Z')
# As long as a whole line, with something else than a brace at its end: no kill leaves that.
_WRONG_END = re.compile(rb'"crc32": "[0-9a-f]{8}"[^}]\Z')


def append_line(path: Path, entry: Mapping[str, Any], place: str | None) -> None:
    """Add one line, in one write: a kill leaves at most one torn line, the last.

    Args:
        entry: Scalars by name; NaN and infinities are written as null.
        place: The names of run and file that the line's checksum binds it to; None binds it to none.

    Raises:
        OSError: The line could not be written whole.
    """
    line = with_crc(json.dumps(plain(entry), allow_nan=False), place) + "\n"
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    try:
        # What a kill tore is closed first, so that it stays the only loss.
        end = os.lseek(descriptor, 0, os.SEEK_END)
        torn = end > 0 and os.pread(descriptor, 1, end - 1) != b"\n"
        data = (("\n" if torn else "") + line).encode()
        with writes(path):
            written = os.write(descriptor, data)
            if written != len(data):
                os.write(descriptor, data[written:])  # says why there was no room for it
    finally:
        os.close(descriptor)


def with_crc(line: str, place: str | None = None) -> str:
    """A line of JSON with the CRC-32 of its place and of what stands before it as its last key."""
    head = line[:-1]
    comma = ", " if head != "{" else ""
    return f'{head}{comma}"{_CRC}": "{_crc(head.encode(), place)}"}}'


def _crc(head: bytes, place: str | None) -> str:
    return f"{zlib.crc32(head, zlib.crc32((place or '').encode())):08x}"


def read_lines(path: Path, place: str | None) -> list[dict[str, Any]]:
    """All of `lines_in`."""
    return [*lines_in(path, place)]


def lines_in(path: Path, place: str | None) -> Iterator[dict[str, Any]]:
    """Every line that was written whole, without its checksum; lines torn by a kill are left out.

    An absent history is empty. One line is in memory at a time.

    Args:
        place: The names that every line must be bound to; None for a history of an older version,
            whose lines may have no checksum.

    Raises:
        AqrExpError: A line was written whole and is no JSON object, or does not fit its checksum; or it is
            longer than any that is written.
    """
    try:
        with open_regular(path, follow=False) as file:
            for number, line in enumerate(iter(partial(file.readline, _LONGEST), b""), start=1):
                where = f"{path} is damaged: line {number}"
                entry = _entry(line.removesuffix(b"\n"), place, where)
                if entry is not None:
                    yield entry
    except FileNotFoundError:
        return
    except OSError as error:
        if is_shortage(error):
            raise
        damaged = "is damaged" if error.errno == errno.EINVAL else "cannot be read"
        raise AqrExpError(f"{path} {damaged}: {error.strerror}") from None


def _entry(line: bytes, place: str | None, damaged: str) -> dict[str, Any] | None:
    """One line's content; None of an empty or torn one."""
    if not line.strip():
        return None
    if len(line) >= _LONGEST:
        raise AqrExpError(f"{damaged} is longer than {_LONGEST} bytes")
    try:
        try:
            entry: Any = _LINE.decode(line)
        except (ValueError, RecursionError):
            as_written = json.loads  # reads more: NaN, and numbers of any length
            entry = as_written(line, parse_int=_number, parse_float=_number, parse_constant=_number)
    except (ValueError, RecursionError):
        if _torn(line):
            return None
        raise AqrExpError(f"{damaged} is not JSON") from None
    if not isinstance(entry, dict):
        raise AqrExpError(f"{damaged} is no object")
    if not _fits(line, entry, place):
        raise AqrExpError(f"{damaged} does not fit its checksum")
    entry.pop(_CRC, None)
    return entry


def _number(text: str) -> int | float | None:
    """A number as it is written; None of NaN, and of what is larger than numbers are."""
    value = float(text)
    if not math.isfinite(value):
        return None
    return int(text) if text.lstrip("-").isdecimal() and abs(value) <= _MOST else value


def _torn(line: bytes) -> bool:
    """Whether a line is the beginning of an object, as a kill leaves it."""
    whole = line.rstrip().endswith(b"}") or _WRONG_END.search(line[-40:]) is not None
    return line.startswith(b"{") and not whole


def _fits(line: bytes, entry: Mapping[str, Any], place: str | None) -> bool:
    found = _TAIL.search(line, max(0, len(line) - _TAIL_BYTES))
    if found is None:
        # A line with a checksum also says its attempt: one damage cannot hide both.
        return place is None and _CRC not in entry and ATTEMPT not in entry
    return _crc(line[: found.start()], place).encode() == found[1]


Line = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Joint:
    """The point where an attempt resumed.

    Attributes:
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


def joints(history: Iterable[Line]) -> list[Joint]:
    """Resume points of the attempts after the first, in their order.

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
    """The lines that count: those of an attempt up to where a later one took over, in order."""
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


def curve_of(history: Iterable[Line]) -> dict[int, dict[str, float]]:
    """Metrics by epoch from the evaluations during training; of one evaluated twice the later counts."""
    found: dict[int, dict[str, float]] = {}
    for line in history:
        epoch = line.get("epoch")
        if line.get("kind") == "val" and isinstance(epoch, int):
            found[epoch] = {
                name: float(value)
                for name, value in line.items()
                if name != "epoch"
                and isinstance(value, (int, float))
                and not isinstance(value, bool)
            }
    return found


def mean_of_last(history: Iterable[Line], epochs: Sequence[int]) -> dict[str, float | None]:
    """Means over the evaluations after these epochs, as `mAP_last3`; None where one is missing."""
    curve = curve_of(history)
    points = [curve.get(epoch, {}) for epoch in epochs]
    return {
        f"{name}_last{len(points)}": statistics.fmean(point[name] for point in points)
        if all(name in point for point in points)
        else None
        for name in ("mAP", "NDS")
        if points
    }


LOSS_OSCILLATION = "stability/loss_oscillation"
GRADIENT_SPIKES = "stability/gradient_spikes"
SPIKE_FACTOR = 3.0
# The running median is that of so many norms before the step, and needs a few to be one.
MEDIAN_STEPS, LEAST_MEDIAN_STEPS = 50, 5


def stability_metrics(history: Sequence[Line]) -> dict[str, float | None]:
    """Both numbers under the names they have in `metrics.json`; None where the history is too short."""
    return {
        LOSS_OSCILLATION: loss_oscillation(history),
        GRADIENT_SPIKES: gradient_spikes(history),
    }


def loss_oscillation(history: Sequence[Line]) -> float | None:
    """Jumps of the loss from line to line in the last half of training, over its mean there.

    The standard deviation (n - 1) of the differences between successive losses, so that a steady
    fall of the loss adds nothing.

    Returns:
        The ratio, 0 or more; None with fewer than three losses there, or when their mean is not
        positive.
    """
    steps = _train_values(history, "loss")
    last = max(steps, default=0)
    losses = [value for step, value in steps.items() if step > last / 2]
    if len(losses) < 3 or statistics.fmean(losses) <= 0:
        return None
    differences = [after - before for before, after in itertools.pairwise(losses)]
    return statistics.stdev(differences) / statistics.fmean(losses)


def gradient_spikes(history: Sequence[Line]) -> float | None:
    """The share of steps whose gradient norm exceeds three times the running median.

    The running median is that of the 50 norms before the step (the step's own is not among them);
    steps with fewer than 5 before them are not judged.

    Returns:
        The share, 0 to 1; None when no step can be judged.
    """
    norms = list(_train_values(history, "grad_norm").values())
    judged = range(LEAST_MEDIAN_STEPS, len(norms))
    if not judged:
        return None
    spikes = sum(
        norms[at] > SPIKE_FACTOR * statistics.median(norms[max(0, at - MEDIAN_STEPS) : at])
        for at in judged
    )
    return spikes / len(judged)


def _train_values(history: Sequence[Line], name: str) -> dict[int, float]:
    """A scalar by training step, rising; of a step that was repeated after a resume, the last counts."""
    latest = {line["step"]: line.get(name) for line in history if _is_train(line)}
    return {
        step: float(value)
        for step, value in sorted(latest.items())
        if isinstance(value, (int, float)) and abs(value) <= sys.float_info.max
    }
