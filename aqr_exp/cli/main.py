"""The console script: commands, one-line errors and exit codes."""

import codecs
import gc
import io
import os
import select
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Annotated, Any, ClassVar

import typer
from typer.core import TyperGroup

from aqr_exp import __version__
from aqr_exp.errors import (
    INTERRUPTED,
    LONGEST,
    OUT_OF_TIME,
    STOPPING,
    AqrExpError,
    RequestError,
    cut,
    refusal,
    shown,
    stop_code,
    stop_reason,
)
from aqr_exp.files.text import printable

PROGRAM = "aqr-exp"
COMPLETE_VARIABLE = "_AQR_EXP_COMPLETE"


@dataclass(frozen=True)
class Lazy:
    """A command by name, whose module is not imported.

    Attributes:
        module: Below `aqr_exp.cli`. It holds the command NAME as `NAME_command` with its text
            `NAME_HELP`, or as `command` with `HELP` where it holds no other.
        summary: The command's line in the help of its group, and the first of its own help.
    """

    module: str
    summary: str
    hidden: ClassVar[bool] = False

    def get_short_help_str(self, _limit: int = 0) -> str:
        """The line that helps and completions show; called by Typer."""
        return self.summary

    def load(self, name: str) -> Any:
        """Import the module and build what Typer calls a command."""
        module = import_module(f"aqr_exp.cli.{self.module}")
        prefix = f"{name}_" if hasattr(module, f"{name}_command") else ""
        text = getattr(module, f"{prefix.upper()}HELP")
        app = typer.Typer(
            add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False
        )
        function = getattr(module, f"{prefix}command")
        app.command(name, help=f"{self.summary}\n\n{text.strip()}")(function)
        command = typer.main.get_command(app)
        for parameter in command.params:
            if choices := getattr(parameter.type, "choices", None):
                parameter.type.get_invalid_choice_message = partial(_no_choice, choices)  # type: ignore[attr-defined]
        return command


def _no_choice(choices: Sequence[str], value: object, **_: object) -> str:
    """Say that a value is none of an option's choices, with the nearest."""
    from aqr_exp.files.suggest import did_you_mean

    guess = did_you_mean(str(value), choices)
    return f"{shown(value)} is not one of {', '.join(map(repr, choices))}{guess}"


@dataclass(frozen=True)
class LazySub(Lazy):
    """A group of commands of one module as one of the commands of another.

    Attributes:
        summaries: Of the commands, by name.
    """

    summaries: Mapping[str, str]

    @property
    def commands(self) -> dict[str, Lazy]:
        """The commands by name."""
        return {name: Lazy(self.module, summary) for name, summary in self.summaries.items()}

    def load(self, name: str) -> Any:
        """Build the group; imports nothing."""
        return LazyGroup(name=name, help=self.summary, rich_markup_mode=None, lazy=self.commands)


COMMANDS: dict[str, Lazy] = {
    "run": Lazy("run", "Train a variant, score it as nuScenes does, show its metrics."),
    "sweep": Lazy("sweep", "Run what is missing or failed of a sweep, and nothing else."),
    "watch": Lazy("watch", "Watch a sweep, or every run: progress, loss, time left."),
    "cancel": Lazy("control", "Stop runs or sweeps, wherever they run."),
    "retry": Lazy("control", "Run again what failed, and nothing else."),
    "resume": Lazy("control", "Go on with what was interrupted, cancelled or never started."),
    "work": Lazy("control", "Work on a planned sweep: what is due, one run after another."),
    "why": Lazy("config", "Explain, key by key, why two runs are the same or not."),
    "same": Lazy("same", "Test whether a difference of code changes any bit of two runs."),
    "eval": Lazy("evaluate", "Evaluate runs under sensor failures, or by own metrics."),
    "import": Lazy("importing", "Import result files of any nuScenes detector, or runs."),
    "export": Lazy("importing", "Write runs into one archive for another results folder."),
    "new": Lazy("new", "Write the files of an idea, a variant of your own."),
    "config": Lazy("config", "Print a run's complete, checked configuration and identity."),
    "list": Lazy("show", "List the runs: state, attempt, mAP and NDS."),
    "show": Lazy("show", "Show one run: its state, where it came from, its metrics."),
    "logs": Lazy("housekeeping", "Print what a run's training process printed."),
    "du": Lazy("housekeeping", "Show the room that runs take, by kind of file."),
    "rm": Lazy("housekeeping", "Remove runs, or only their checkpoints."),
    "table": Lazy("table", "Tabulate runs over seeds: intervals, differences, verdicts."),
    "report": Lazy("report", "Write one HTML page of a sweep or of all runs."),
    "compare": Lazy("compare", "Compare two arms or two runs: what differs, by how much."),
    "confirm": Lazy("confirm", "Run a sweep's best points again on fresh seeds."),
    "check": Lazy("check", "Check an idea on the tiny model, beside the baseline."),
    "cost": Lazy("cost", "Measure what detecting in one sample costs."),
    "demo": Lazy("demo", "Unpack nine finished runs to look at: no data, no training."),
    "doctor": Lazy("doctor", "Say what is installed, what is missing and what would mend it."),
    "plot": LazySub(
        "plot",
        "Draw what the runs say, as PDF and PNG for a paper.",
        {
            "sweep": "Draw a metric over one or two swept parameters.",
            "curves": "Draw training loss and evaluations over epochs.",
            "differences": "Draw arms against their reference: intervals, seeds, verdicts.",
            "looks": "Draw the looks at a sweep until decided, with its bounds.",
            "classes": "Draw AP by class for each arm, with intervals.",
            "scale": "Draw the bias scale over training, beside its bounds.",
            "idea": "Draw an idea's own figure of its completed runs.",
        },
    ),
    "analyze": LazySub(
        "analyze",
        "Show what the method does: weights, windows, attention.",
        {
            "softmax": "Show how attention answers to weights times a bias scale.",
            "windows": "Draw the windows of a sample's boxes, in BEV and images.",
            "bias": "Draw what a trained run's weights and bias do.",
        },
    ),
    "data": LazySub(
        "data",
        "Make, prepare, check and show data sets.",
        {
            "synth": "Make the synthetic data set: to try things out on.",
            "prepare": "Prepare a nuScenes folder for training.",
            "check": "Check a nuScenes folder, and name every fault.",
            "show": "Draw the boxes of a sample over its six images and from above.",
            "failures": "Draw each sensor failure on a sample, at every severity.",
        },
    ),
}


# What other programs call it.
MEANT = {
    "diff": "compare",
    "delete": "rm",
    "remove": "rm",
    "stop": "cancel",
    "ls": "list",
    "status": "watch",
    "log": "logs",
    "help": "--help",
    "train": "run",
    "test": "eval",
    "evaluate": "eval",
}


class LazyGroup(TyperGroup):
    """A group that imports a command's module when that command runs or shows its own help."""

    def __init__(self, *, lazy: Mapping[str, Lazy] | None = None, **settings: Any) -> None:
        super().__init__(**settings)
        # Helps, completions and suggestions of names need of a command only what `Lazy` has.
        self.commands: Any = dict(COMMANDS if lazy is None else lazy)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Find the command that was typed, and load it."""
        meant = MEANT.get(args[0])
        if meant and args[0] not in self.commands and not ctx.parent:
            ctx.fail(f"No such command '{args[0]}': did you mean '{meant}'?")
        name, _, rest = super().resolve_command(ctx, args)
        return name, None if name is None else self.commands[name].load(name), rest


HELP = """Find out whether an idea in LiDAR-camera 3D detection really helps.

\b
Examples:
  aqr-exp data synth                  make the synthetic data set
  aqr-exp run baseline                train it, score it, show its metrics
  aqr-exp run baseline seed=1         another seed of the same
  aqr-exp sweep variants --dry-run    all variants over seeds: what would run, and how long
  aqr-exp table                       all results, with intervals
"""


def _version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"{PROGRAM} {__version__}\n")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show a traceback instead of one line.")
    ] = False,
) -> None:
    del version, debug  # handled by a callback, and by `main` before anything can fail


def build_app() -> typer.Typer:
    """The command line, with every command known and none imported."""
    app = typer.Typer(
        name=PROGRAM,
        cls=LazyGroup,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(help=HELP)(_root)
    return app


class _OutputLostError(OSError):
    """An answer could not be written; without a number, which the parser would take for its own."""


class _Stream(io.FileIO):
    """A standard stream that names itself when it is closed, full or without a reader.

    Messages that cannot be written are lost and stop nothing. An answer that cannot be written is an
    error once; what follows it is lost.

    Attributes:
        lost: Why something was not written; None when everything was.
    """

    def __init__(self, descriptor: int, name: str) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self.name = name
        self.lost: OSError | None = None

    def write(self, content: Any) -> int:
        """Write to the stream, also to one that takes no more for a moment."""
        while self.lost is None:
            try:
                written = super().write(content)
            except OSError as error:
                error.filename = self.name
                self.lost = error
                if self.name == "stdout":
                    raise _OutputLostError from error
                break
            if written is not None:
                return written
            select.select([], [self], [])
        return memoryview(content).nbytes


_IN_ASCII = {"\u00b1": "+/-", "\u2500": "-", "\u2501": "-"}


def _spelled(error: UnicodeError) -> tuple[str, int]:
    """Characters that a stream's encoding lacks, in those that every one has."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    characters = error.object[error.start : error.end]
    return "".join(_IN_ASCII.get(one) or ascii(one)[1:-1] for one in characters), error.end


def _take_over_streams() -> _Stream:
    """Replace stdout and stderr by streams that nothing breaks; returns that of stdout.

    A descriptor that is closed is opened on nothing, read-only: no file that is opened later gets its
    number, and with it what is printed.
    """
    codecs.register_error("spelled", _spelled)
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDONLY)
    streams = [_Stream(descriptor, name) for descriptor, name in ((1, "stdout"), (2, "stderr"))]
    for raw in streams:
        encoding = getattr(getattr(sys, raw.name), "encoding", "utf-8")
        buffered = io.BufferedWriter(raw)
        lines = raw.name == "stderr" or raw.isatty()
        text = io.TextIOWrapper(buffered, encoding, "spelled", line_buffering=lines)
        setattr(sys, raw.name, text)
    return streams[0]


def _interrupt_on_signals() -> None:
    """Let every signal that means stop end this process in order; a second one ends it now."""
    asked: int | None = None

    def interrupt(number: int, *_: Any) -> None:
        nonlocal asked
        if asked is not None:
            os._exit(stop_code(stop_reason(asked, number)))
        asked = number
        raise SystemExit(stop_code(number))  # which no parser turns into an end without a word

    for number in STOPPING:
        # An ignored one (of a closed terminal under nohup, of Ctrl-C in the background) stays ignored.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, interrupt)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: Arguments after the program's name. When None those of `sys.argv`, and this process's
            streams and signals are taken over.

    Returns:
        0 done, 1 a run failed, 2 the request was wrong or the system refused it, 75 its time was up,
        130 interrupted.
    """
    if argv is not None:
        return _answer(argv)
    # A process that answers in a quarter of a second would spend an eighth of it collecting.
    gc.set_threshold(100_000)
    stdout = _take_over_streams()
    try:
        _interrupt_on_signals()
        code = _answer(sys.argv[1:])
    except SystemExit as ended:  # while it begins, or tells how it ended
        code = _fail("interrupted", int(ended.code or INTERRUPTED))
    with suppress(OSError):
        sys.stdout.flush()
    # Asked here, since who wrote may have gone on without.
    return code if stdout.lost is None else _fail(refusal(stdout.lost).line, code or 2)


def _answer(argv: Sequence[str]) -> int:
    """Execute a command line; returns the exit code."""
    debug = "--debug" in argv
    arguments = [argument for argument in argv if argument != "--debug"] or ["--help"]
    try:
        result = typer.main.get_command(build_app())(
            arguments, prog_name=PROGRAM, standalone_mode=False
        )
    except (KeyboardInterrupt, typer.Abort):
        return _fail("interrupted", INTERRUPTED)
    except _OutputLostError:
        return 2
    except SystemExit as ended:  # completion prints its script and ends
        if ended.code in {INTERRUPTED, OUT_OF_TIME}:
            return _fail("interrupted", int(ended.code))
        return ended.code if isinstance(ended.code, int) else 0
    except Exception as error:
        if debug:
            raise
        if COMPLETE_VARIABLE in os.environ:
            return 1  # a line would appear within the command that is being typed
        return _report(error)
    return result if isinstance(result, int) else 0


def _report(error: Exception) -> int:
    """Print one line for each fault; returns the exit code."""
    if isinstance(error, RequestError):
        return _fail(
            "\n".join(cut(printable(fault.line), LONGEST) for fault in error.faults),
            error.exit_code,
        )
    if isinstance(error, AqrExpError):
        return _fail(str(error), error.exit_code)
    # The command-line parser's own errors: unknown command, missing argument, bad choice.
    described = getattr(error, "format_message", None)
    if described is not None:
        line = " ".join(str(described()).split()) + _override_meant(error)
        return _fail(cut(line, LONGEST), int(getattr(error, "exit_code", 2)))
    if isinstance(error, OSError):
        return _fail(refusal(error).line, 2)
    if isinstance(error, MemoryError):
        return _fail(f"out of memory: {error}".removesuffix(": "), 2)
    if isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith("aqr_exp"):
        return _fail(
            f"this needs the package {error.name}: `aqr-exp doctor` says what installs it", 2
        )
    words = " ".join(f"{type(error).__name__}: {error}".split())
    return _fail(f"internal error: {words} (--debug shows where)", 1)


def _override_meant(error: Any) -> str:
    """The hint for an option that is typed as a key, and for `--json` where there is a `--format`."""
    option = str(getattr(error, "option_name", "")).lstrip("-")
    names = {item.name for item in error.ctx.command.params} if option and error.ctx else set()
    if option == "json" and "form" in names:
        return ": did you mean '--format json'?"
    if "overrides" not in names:
        return ""
    from aqr_exp.config.compose import typed_keys
    from aqr_exp.files.suggest import nearest

    key = nearest(option.replace("-", "_"), typed_keys())
    return f": did you mean '{key}=...'?" if key else ""


def _fail(message: str, exit_code: int) -> int:
    sys.stderr.write("".join(f"{PROGRAM}: {printable(line)}\n" for line in message.split("\n")))
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
