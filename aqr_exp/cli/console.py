"""Output: answers to stdout, messages to stderr, colours and live lines only on a terminal."""

import json
import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from aqr_exp.cli import completion
from aqr_exp.files.atomic import plain
from aqr_exp.files.progress import NamedProgress, Progress, RunProgress, duration
from aqr_exp.files.text import json_text, printable, printable_lines

if TYPE_CHECKING:
    from aqr_exp.evaluate.conditions import DataCondition
    from aqr_exp.report.tables.cells import Table
    from aqr_exp.report.tables.formats import TableFormat
    from aqr_exp.store.collect import RunRow
    from aqr_exp.store.store import Store


def data(text: str, *, styled: bool = False) -> None:
    """Print an answer to stdout, with a line break at its end.

    Args:
        styled: Its colours are ours; in all other text what would steer a terminal is spelled out.
    """
    text = text if styled else printable_lines(text)
    sys.stdout.write(text if text.endswith("\n") else text + "\n")
    sys.stdout.flush()


def say(text: str) -> None:
    """Print words to stderr; what would steer a terminal is spelled out."""
    sys.stderr.write(printable_lines(text) + "\n")
    sys.stderr.flush()


def print_json(value: Mapping[str, Any] | Sequence[Any]) -> None:
    """Print JSON to stdout; NaN and infinities become null."""
    if on_unicode():
        data(json_text(plain(value)))
    else:  # JSON has its own way to write the rest in ASCII
        data(json.dumps(plain(value), indent=1, allow_nan=False))


def on_unicode() -> bool:
    """True when stdout can show every character."""
    return (sys.stdout.encoding or "ascii").lower().startswith("utf")


def names_in(text: str | None) -> list[str]:
    """The names of a list with commas between, each once; none without a text."""
    names = (name.strip() for name in (text or "").split(","))
    return list(dict.fromkeys(name for name in names if name))


def on_terminal() -> bool:
    """True when stdout is a terminal."""
    return sys.stdout.isatty()


def print_table(table: "Table", form: "TableFormat | None" = None) -> None:
    """Print a table to stdout, laid out for people unless `form` says otherwise."""
    from aqr_exp.report.tables.formats import render

    _print_laid_out(partial(render, table), form)


def print_tables(tables: "Mapping[str, Table]", form: "TableFormat | None" = None) -> None:
    """Print several, as `render_all` lays them out."""
    from aqr_exp.report.tables.formats import render_all

    _print_laid_out(partial(render_all, tables), form)


def _print_laid_out(lay_out: Callable[..., str], form: "TableFormat | None") -> None:
    from aqr_exp.report.tables.formats import TableFormat

    form, terminal = form or TableFormat.RICH, on_terminal()
    # Cells are spelled out where they are laid out: what steers the terminal are our own colours.
    data(lay_out(form, terminal=terminal), styled=terminal and form is TableFormat.RICH)


def silence_libraries() -> None:
    """Silence the loggers of libraries below warnings."""
    from mmengine.logging import MMLogger

    logging.disable(logging.INFO)
    # Its loggers remember what was enabled before, out of `logging`'s reach; this makes all forget.
    logger = MMLogger.get_current_instance()
    logger.setLevel(logger.level)


def argument(metavar: str, text: str, completed_by: Callable[..., list[str]]) -> Any:
    """A positional argument with its line of help, which a shell completes."""
    return typer.Argument(metavar=metavar, help=text, autocompletion=completed_by)


Variant = Annotated[str, argument("VARIANT", "The variant, such as baseline.", completion.variants)]
Overrides = Annotated[
    list[str] | None,
    argument("[OVERRIDES]...", "Changes, as key=value or group=option.", completion.overrides),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
RunName = Annotated[
    str, argument("RUN", "The run's name, or its beginning when unambiguous.", completion.run_names)
]
Slots = Annotated[
    int | None,
    typer.Option(
        "--slots", help="Runs side by side; by default one per GPU, or per core.", min=1, max=1000
    ),
]
Detach = Annotated[
    bool, typer.Option("--detach", help="Go on when the terminal closes, and return at once.")
]
Population = Annotated[
    Literal["val", "scenes"],
    typer.Option(
        "--population",
        help="What verdicts are about: models trained again on these scenes, or other scenes as well.",
    ),
]
Sesoi = Annotated[
    float,
    typer.Option(
        "--sesoi",
        help="The smallest effect of interest, in points.",
        metavar="POINTS",
    ),
]
Paired = Annotated[
    bool,
    typer.Option("--paired", help="Arms of one seed share their start: compare seed by seed."),
]


PLAIN_EVERY_S = 10.0


class PlainProgress:
    """Prints a line when phase or epoch changed, and otherwise at most every ten seconds."""

    def __init__(
        self, say: Callable[[str], None] = say, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._say = say
        self._clock = clock
        self._said: tuple[Any, Any] | None = None
        self._said_at = 0.0

    def __call__(self, progress: dict[str, Any]) -> None:
        """Print the progress when it is time to."""
        now = self._clock()
        stage = (progress.get("phase"), progress.get("epoch"))
        if stage != self._said or now - self._said_at >= PLAIN_EVERY_S:
            self._said, self._said_at = stage, now
            self._say(progress_line(progress))


@contextmanager
def run_progress() -> Iterator[RunProgress]:
    """Show a run's progress until the context ends."""
    if not on_terminal():
        yield PlainProgress()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.text import Text

    columns = (SpinnerColumn(), BarColumn(bar_width=24), TimeElapsedColumn())
    words = TextColumn("{task.description}", markup=False)
    with Progress(*columns, words, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("setup", total=None)

        def show(progress: dict[str, Any]) -> None:
            bar.update(
                task,
                description=Text(progress_line(progress)).plain,
                completed=progress.get("step") or 0,
                total=progress.get("steps"),
            )

        yield show


@contextmanager
def counted_progress(what: str) -> Iterator[Progress]:
    """Show how many of how many are done."""
    if not on_terminal():
        said_at = time.monotonic()

        def say_count(done: int, total: int) -> None:
            nonlocal said_at
            if done == total or time.monotonic() - said_at >= PLAIN_EVERY_S:
                said_at = time.monotonic()
                say(f"{done} of {total} {what}")

        yield say_count
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


QUIET_S = 2.0


@contextmanager
def delayed_progress() -> Iterator[NamedProgress]:
    """Show how many of how many are done, once that has taken two seconds."""
    shown: dict[str, Progress] = {}
    started: dict[str, float] = {}
    with ExitStack() as stack:

        def progress(what: str, done: int, total: int) -> None:
            if what not in shown:
                if time.monotonic() - started.setdefault(what, time.monotonic()) < QUIET_S:
                    return
                shown[what] = stack.enter_context(counted_progress(what))
            shown[what](done, total)

        yield progress


def resample(rows: Sequence["RunRow"], store: "Store", condition: "DataCondition") -> None:
    """Compute what intervals need of completed runs, which takes long the first time."""
    from aqr_exp.statistics.differences import DEFAULT
    from aqr_exp.statistics.run_scores import prepare

    completed = [row for row in rows if row.completed]
    with delayed_progress() as show:
        progress = partial(show, "resamples")
        prepare(completed, [condition], store=store, settings=DEFAULT, progress=progress)


def progress_line(progress: dict[str, Any]) -> str:
    """The progress of a run in one line."""
    words = [str(progress.get("phase", "setup"))]
    if "epoch" in progress:
        words.append(f"epoch {progress['epoch']}/{progress.get('epochs', '?')}")
    if "step" in progress:
        words.append(f"step {progress['step']}/{progress.get('steps', '?')}")
    loss, eta_s = progress.get("loss"), progress.get("eta_s")
    if isinstance(loss, (int, float)):
        words.append(f"loss {loss:.3f}" if abs(loss) < 1e6 else f"loss {loss:.3g}")
    if isinstance(eta_s, (int, float)) and eta_s < 1e9:
        words.append(f"{duration(eta_s)} left")
    return printable(", ".join(words))
