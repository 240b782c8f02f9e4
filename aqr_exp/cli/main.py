"""The console script: commands, one-line errors and exit codes."""

import gc
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Any, ClassVar

import typer
from typer.core import TyperGroup

from aqr_exp import __version__
from aqr_exp.errors import AqrExpError

PROGRAM = "aqr-exp"
INTERRUPTED = 130
COMPLETE_VARIABLE = "_AQR_EXP_COMPLETE"


@dataclass(frozen=True)
class Entry:
    """A command by name, whose module is not imported.

    Attributes:
        summary: The command's line in the help of its group, and the first of its own help.
    """

    summary: str
    hidden: ClassVar[bool] = False

    def get_short_help_str(self, _limit: int = 0) -> str:
        """The line that helps and completions show; called by Typer."""
        return self.summary

    def load(self, name: str) -> Any:
        """Build what Typer calls a command."""
        raise NotImplementedError


@dataclass(frozen=True)
class Lazy(Entry):
    """A command of a module below `aqr_exp.cli`.

    Attributes:
        place: `module:function`. The module's `HELP` is the text of its `command`, and `SYNTH_HELP`
            that of a `synth_command`.
    """

    place: str

    def load(self, name: str) -> Any:
        """Import the module and build the command."""
        module_name, _, function = self.place.partition(":")
        module = import_module(f"aqr_exp.cli.{module_name}")
        text = getattr(module, f"{function.removesuffix('command').upper()}HELP")
        app = typer.Typer(
            add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False
        )
        app.command(name, help=f"{self.summary}\n\n{text.strip()}")(getattr(module, function))
        return typer.main.get_command(app)


@dataclass(frozen=True)
class LazySub(Entry):
    """A group of commands as one of the commands of another."""

    commands: Mapping[str, Entry]

    def load(self, name: str) -> Any:
        """Build the group; imports nothing."""
        return LazyGroup(name=name, help=self.summary, rich_markup_mode=None, lazy=self.commands)


COMMANDS: dict[str, Entry] = {
    "run": Lazy("Train a variant, score it as nuScenes does, show its metrics.", "run:command"),
    "sweep": Lazy("Run what is missing or failed of a sweep, and nothing else.", "sweep:command"),
    "watch": Lazy("Watch a sweep, or every run: progress, loss, time left.", "watch:command"),
    "cancel": Lazy("Stop runs or sweeps, wherever they run.", "control:cancel_command"),
    "retry": Lazy("Run again what failed, and nothing else.", "control:retry_command"),
    "resume": Lazy(
        "Go on with what was interrupted, cancelled or never started.", "control:resume_command"
    ),
    "why": Lazy("Explain, key by key, why two runs are the same or not.", "config:why_command"),
    "eval": Lazy("Evaluate trained runs under sensor failures.", "evaluate:command"),
    "config": Lazy(
        "Print a run's complete, checked configuration and identity.", "config:config_command"
    ),
    "list": Lazy("List the runs: state, attempt, mAP and NDS.", "show:list_command"),
    "show": Lazy("Show one run: its state, where it came from, its metrics.", "show:show_command"),
    "table": Lazy("Tabulate runs over seeds: intervals, differences, verdicts.", "table:command"),
    "compare": Lazy("Compare two arms or two runs: what differs, by how much.", "compare:command"),
    "confirm": Lazy("Run a sweep's best points again on fresh seeds.", "confirm:command"),
    "cost": Lazy("Measure what detecting in one sample costs.", "cost:command"),
    "doctor": Lazy(
        "Say what is installed, what is missing and what would mend it.", "doctor:command"
    ),
    "plot": LazySub(
        "Draw what the runs say, as PDF and PNG for a paper.",
        {
            "sweep": Lazy("Draw a metric over one or two swept parameters.", "plot:sweep_command"),
            "curves": Lazy(
                "Draw training loss and evaluations over epochs.", "plot:curves_command"
            ),
            "classes": Lazy(
                "Draw AP by class for each arm, with intervals.", "plot:classes_command"
            ),
            "scale": Lazy(
                "Draw the bias scale over training, beside its bounds.", "plot:scale_command"
            ),
        },
    ),
    "analyze": LazySub(
        "Show what the method does: weights, windows, attention.",
        {
            "softmax": Lazy(
                "Show how attention answers to weights times a bias scale.",
                "analyze:softmax_command",
            ),
            "windows": Lazy(
                "Draw the windows of a sample's boxes, in BEV and images.",
                "analyze:windows_command",
            ),
            "bias": Lazy("Draw what a trained run's weights and bias do.", "analyze:bias_command"),
        },
    ),
    "data": LazySub(
        "Make, prepare, check and show data sets.",
        {
            "synth": Lazy(
                "Make the synthetic data set: to try things out on.", "data:synth_command"
            ),
            "prepare": Lazy("Prepare a nuScenes folder for training.", "data:prepare_command"),
            "check": Lazy("Check a nuScenes folder, and name every fault.", "data:check_command"),
            "show": Lazy(
                "Draw the boxes of a sample over its six images and from above.",
                "data:show_command",
            ),
            "failures": Lazy(
                "Draw each sensor failure on a sample, at every severity.",
                "data:failures_command",
            ),
        },
    ),
}


class LazyGroup(TyperGroup):
    """A group that imports a command's module when that command runs or shows its own help."""

    def __init__(self, *, lazy: Mapping[str, Entry] | None = None, **settings: Any) -> None:
        super().__init__(**settings)
        # Helps, completions and suggestions of names need of a command only what an `Entry` has.
        self.commands: Any = dict(COMMANDS if lazy is None else lazy)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Find the command that was typed, and load it."""
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


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: Arguments after the program's name; `sys.argv` when None.

    Returns:
        0 done, 1 a run failed, 2 the request was wrong, 130 interrupted.
    """
    if argv is None:
        # A process that answers in a quarter of a second would spend an eighth of it collecting.
        gc.set_threshold(100_000)
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    try:
        arguments = arguments or ["--help"]
        result = typer.main.get_command(build_app())(
            arguments, prog_name=PROGRAM, standalone_mode=False
        )
    except KeyboardInterrupt:
        return _fail("interrupted", INTERRUPTED)
    except BrokenPipeError:
        # The reader of our output has closed it (`| head`).
        sys.stderr.close()
        return 1
    except typer.Abort:
        return _fail("interrupted", INTERRUPTED)
    except SystemExit as ended:  # completion prints its script and ends
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
    if isinstance(error, AqrExpError):
        return _fail(str(error), error.exit_code)
    # The command-line parser's own errors: unknown command, missing argument, bad choice.
    described = getattr(error, "format_message", None)
    if described is not None:
        return _fail(" ".join(str(described()).split()), int(getattr(error, "exit_code", 2)))
    if isinstance(error, OSError) and error.filename:
        return _fail(f"{error.filename}: {error.strerror}", 1)
    words = " ".join(f"{type(error).__name__}: {error}".split())
    return _fail(f"internal error: {words} (--debug shows where)", 1)


def _fail(message: str, exit_code: int) -> int:
    sys.stderr.write("".join(f"{PROGRAM}: {line}\n" for line in message.splitlines()))
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
