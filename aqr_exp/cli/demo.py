"""`aqr-exp demo`: finished runs to look at, without data, training or torch."""

import shlex
from functools import partial
from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated

import typer

from aqr_exp.cli import console
from aqr_exp.config import BASELINE
from aqr_exp.files.run_name import RunName
from aqr_exp.files.text import typed_path
from aqr_exp.store.archive import read_archive
from aqr_exp.store.store import Store

HELP = """
Nine runs that were really trained: `aqr-exp sweep variants` on the synthetic data, three seeds of three
variants, with their histories and match records (docs/results.md). They are put into a results folder of
their own.

\b
Examples:
  aqr-exp demo
  aqr-exp demo /tmp/demo
"""

_FOLDER = typer.Argument(help="The results folder to make.", metavar="[FOLDER]")


def command(folder: Annotated[Path, _FOLDER] = Path("demo")) -> None:
    """Unpack the runs, and say what to type next."""
    root = typed_path(folder, "FOLDER")
    with as_file(files("aqr_exp") / "demo.zip") as archive, console.delayed_progress() as progress:
        found = read_archive(archive, Store(root), progress=partial(progress, "runs unpacked"))
    console.data(f"{len(found)} runs are in {root}. Look at them:")
    variants = [one.variant for name in found if (one := RunName.parse(name))]
    other = next(name for name in variants if name != BASELINE)
    for words in (
        f"export AQR_EXP_RESULTS={shlex.quote(str(folder))}",
        "aqr-exp table --sweep variants",
        f"aqr-exp compare {BASELINE} {other} --by metric",
        "aqr-exp plot differences --of variants",
        "aqr-exp report variants",
    ):
        console.data(f"  {words}")
