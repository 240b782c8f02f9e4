"""The console script: commands, one-line errors and exit codes."""

import gc
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperGroup

from aqr_exp import __version__
from aqr_exp.errors import AqrExpError

PROGRAM = "aqr-exp"
INTERRUPTED = 130


class Lazy(NamedTuple):
    """A command that is known by name before its module is imported.

    Attributes:
        place: `module:function`, the module below `aqr_exp.cli`. The module's `HELP` is the text of
            its `command`, and `SYNTH_HELP` that of a `synth_command`.
        summary: The command's line in the help of its group, and the first of its own help.
    """

    place: str
    summary: str

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


class LazySub(NamedTuple):
    """A group of commands as one of the commands of another.

    Attributes:
        summary: Its line in the help of the other.
        commands: Its commands.
    """

    summary: str
    commands: Mapping[str, Lazy]

    def load(self, name: str) -> Any:
        """Build the group; imports nothing."""
        return LazyGroup(name=name, help=self.summary, rich_markup_mode=None, lazy=self.commands)


COMMANDS: dict[str, Lazy | LazySub] = {
    "run": Lazy("run:command", "Train a variant, score it as nuScenes does, show its metrics."),
    "sweep": Lazy("sweep:command", "Run what is missing or failed of a sweep, and nothing else."),
    "watch": Lazy("watch:command", "Watch a sweep, or every run: progress, loss, time left."),
    "cancel": Lazy("control:cancel_command", "Stop runs or sweeps, wherever they run."),
    "retry": Lazy("control:retry_command", "Run again what failed, and nothing else."),
    "resume": Lazy(
        "control:resume_command", "Go on with what was interrupted, cancelled or never started."
    ),
    "why": Lazy("config:why_command", "Explain, key by key, why two runs are the same or not."),
    "eval": Lazy("evaluate:command", "Evaluate trained runs under sensor failures."),
    "config": Lazy(
        "config:config_command", "Print a run's complete, checked configuration and identity."
    ),
    "list": Lazy("show:list_command", "List the runs: state, attempt, mAP and NDS."),
    "show": Lazy("show:show_command", "Show one run: its state, where it came from, its metrics."),
    "table": Lazy("table:command", "Tabulate runs over seeds: intervals, differences, verdicts."),
    "compare": Lazy("compare:command", "Compare two arms or two runs: what differs, by how much."),
    "confirm": Lazy("confirm:command", "Run a sweep's best points again on fresh seeds."),
    "cost": Lazy("cost:command", "Measure what detecting in one sample costs."),
    "doctor": Lazy(
        "doctor:command", "Say what is installed, what is missing and what would mend it."
    ),
    "plot": LazySub(
        "Draw what the runs say, as PDF and PNG for a paper.",
        {
            "sweep": Lazy("plot:sweep_command", "Draw a metric over one or two swept parameters."),
            "curves": Lazy(
                "plot:curves_command", "Draw training loss and evaluations over epochs."
            ),
            "classes": Lazy(
                "plot:classes_command", "Draw AP by class for each arm, with intervals."
            ),
            "scale": Lazy(
                "plot:scale_command", "Draw the bias scale over training, beside its bounds."
            ),
        },
    ),
    "analyze": LazySub(
        "Show what the method does: weights, windows, attention.",
        {
            "softmax": Lazy(
                "analyze:softmax_command",
                "Show how attention answers to weights times a bias scale.",
            ),
            "windows": Lazy(
                "analyze:windows_command",
                "Draw the windows of a sample's boxes, in BEV and images.",
            ),
            "bias": Lazy("analyze:bias_command", "Draw what a trained run's weights and bias do."),
        },
    ),
    "data": LazySub(
        "Make, prepare, check and show data sets.",
        {
            "synth": Lazy(
                "data:synth_command", "Make the synthetic data set: to try things out on."
            ),
            "prepare": Lazy("data:prepare_command", "Prepare a nuScenes folder for training."),
            "check": Lazy("data:check_command", "Check a nuScenes folder, and name every fault."),
            "show": Lazy(
                "data:show_command",
                "Draw the boxes of a sample over its six images and from above.",
            ),
            "failures": Lazy(
                "data:failures_command",
                "Draw each sensor failure on a sample, at every severity.",
            ),
        },
    ),
}


class LazyCommands(Mapping[str, Any]):
    """The commands of a group, each built when it is looked up."""

    def __init__(self, table: Mapping[str, Lazy | LazySub]) -> None:
        self.table = table

    def __getitem__(self, name: str) -> Any:
        """Import and build a command."""
        return self.table[name].load(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.table)

    def __len__(self) -> int:
        return len(self.table)


class LazyGroup(TyperGroup):
    """A group that imports a command's module when that command runs or shows its own help."""

    def __init__(
        self, *, lazy: Mapping[str, Lazy | LazySub] | None = None, **settings: Any
    ) -> None:
        super().__init__(**settings)
        self.lazy = COMMANDS if lazy is None else lazy
        self.commands = LazyCommands(self.lazy)  # type: ignore[assignment]  # it is only read

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        """Write a line for each command, without importing any."""
        rows = [(name, entry.summary) for name, entry in self.lazy.items()]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


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
        add_completion=False,
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
        # The reader of our output went away (`| head`); nobody is left to be told.
        sys.stderr.close()
        return 1
    except typer.Abort:
        return _fail("interrupted", INTERRUPTED)
    except Exception as error:
        if debug:
            raise
        return _report(error)
    return result if isinstance(result, int) else 0


def _report(error: Exception) -> int:
    """Say in one line a fault what went wrong."""
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
