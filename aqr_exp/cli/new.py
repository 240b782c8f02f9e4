"""`aqr-exp new`: the files of an idea, ready to run and to be changed."""

from pathlib import Path
from typing import Annotated

import typer

from aqr_exp.cli import console
from aqr_exp.config.compose import shipped_folder
from aqr_exp.config.idea_files import FOLDER, check_new_name
from aqr_exp.config.variant_spec import shipped_specs
from aqr_exp.errors import Fault, RequestError, shown
from aqr_exp.files.atomic import replace_text
from aqr_exp.files.suggest import did_you_mean

PLACEHOLDER = "my_idea"
"""The name in the templates."""

FIRST = "features"


def templates() -> dict[str, str]:
    """What each template shows, by its name."""
    files = [path for path in shipped_folder("templates").glob("*.py") if path.stem[:5] != "test_"]
    return {path.stem: _first_line(path) for path in sorted(files)}


def _first_line(path: Path) -> str:
    return path.read_text(encoding="utf-8").partition("\n")[0].strip('"')


_EVERY = "\n".join(f"  {name:<16} {summary}" for name, summary in templates().items())
HELP = f"""
An idea is a variant in a file of your own: its settings, typed and checked as those of any variant, and
a torch module that changes the detector in one place or several. Two files are written and none is
ever overwritten: {FOLDER}/NAME.py, which runs as it is, and {FOLDER}/test_NAME.py, its test.

\b
Starting points:
{_EVERY}

\b
Examples:
  aqr-exp new my_gain
  aqr-exp new sharper --from scores
"""

_NAME = typer.Argument(metavar="NAME", help="Of the idea and its file, such as my_gain.")
_FROM = typer.Option(
    "--from", help="What it starts as.", metavar="KIND", autocompletion=lambda: [*templates()]
)


def command(name: Annotated[str, _NAME], start: Annotated[str, _FROM] = FIRST) -> None:
    """Write both files, and say what to type next."""
    known = templates()
    if start not in known:
        rule = f"{shown(start)} is none of {', '.join(known)}"
        raise RequestError(Fault("--from", None, rule, did_you_mean(start, known)))
    check_new_name(name, [*shipped_specs()])
    folder = Path(FOLDER)
    files = {
        folder / f"{name}.py": f"{start}.py",
        folder / f"test_{name}.py": f"test_{start}.py",
    }
    for path in files:
        if path.is_symlink() or path.exists():
            raise RequestError(Fault(where=str(path), rule="is there already, and stays as it is"))
    folder.mkdir(exist_ok=True)
    for path, template in files.items():
        replace_text(path, _renamed(template, name))
    idea, test = files
    console.data(f"{idea}: {known[start]}")
    console.data(f"{test}: its test (pytest {test})")
    console.data("next:")
    for line, words in (
        (f"aqr-exp check {name}", "does it keep what an idea must?"),
        (f"aqr-exp run {name} preset=smoke", "one short run of it"),
        (f"aqr-exp sweep {name} baseline seed=0,1,2", "over seeds, with what it is compared with"),
        ("aqr-exp table", "the verdict"),
    ):
        console.data(f"  {line:<{len(name) + 40}}{words}")


def _renamed(template: str, name: str) -> str:
    text = (shipped_folder("templates") / template).read_text(encoding="utf-8")
    camel = "".join(part[:1].upper() + part[1:] for part in name.split("_"))
    return text.replace(PLACEHOLDER, name).replace("MyIdea", camel)
