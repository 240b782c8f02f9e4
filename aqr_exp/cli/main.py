"""The console script: commands, one-line errors and exit codes."""

import gc
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from aqr_exp import __version__
from aqr_exp.cli import (
    analyze,
    cancel,
    compare,
    config,
    confirm,
    cost,
    data,
    doctor,
    evaluate,
    list_runs,
    plot,
    rerun,
    run,
    show,
    sweep,
    table,
    watch,
    why,
)
from aqr_exp.errors import AqrExpError

PROGRAM = "aqr-exp"
INTERRUPTED = 130

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
    """The command line, with every command registered and nothing heavy imported."""
    app = typer.Typer(
        name=PROGRAM,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(help=HELP)(_root)
    app.command("run", help=run.HELP)(run.command)
    app.command("sweep", help=sweep.HELP)(sweep.command)
    app.command("watch", help=watch.HELP)(watch.command)
    app.command("cancel", help=cancel.HELP)(cancel.command)
    app.command("retry", help=rerun.RETRY_HELP)(rerun.retry_command)
    app.command("resume", help=rerun.RESUME_HELP)(rerun.resume_command)
    app.command("why", help=why.HELP)(why.command)
    app.command("eval", help=evaluate.HELP)(evaluate.command)
    app.command("config", help=config.HELP)(config.command)
    app.command("list", help=list_runs.HELP)(list_runs.command)
    app.command("show", help=show.HELP)(show.command)
    app.command("table", help=table.HELP)(table.command)
    app.command("compare", help=compare.HELP)(compare.command)
    app.command("confirm", help=confirm.HELP)(confirm.command)
    app.command("cost", help=cost.HELP)(cost.command)
    app.command("doctor", help=doctor.HELP)(doctor.command)
    app.add_typer(plot.build_app(), name="plot")
    app.add_typer(analyze.build_app(), name="analyze")
    app.add_typer(data.build_app(), name="data")
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
