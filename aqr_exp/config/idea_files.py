"""Ideas, variants in files of the user's own: found by their names, none imported.

An idea `my_gain` is the file `my_gain.py` or the folder `my_gain` with an `__init__.py`. It lies in the
folder `ideas` of the working folder, in a folder of `$AQR_EXP_PATH`, or an installed distribution has it
under the entry-point group `aqr_exp.variants`.
"""

import importlib.util
import keyword
import os
import re
import sys
import traceback
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from aqr_exp.errors import Fault, RequestError, cut
from aqr_exp.files.suggest import did_you_mean

PATH_VARIABLE = "AQR_EXP_PATH"
"""Holds further folders of ideas, as `PATH` holds those of programs."""

FOLDER = "ideas"
"""Of the working folder."""

GROUP = "aqr_exp.variants"
"""The entry points of installed ideas: `my_gain = "package.my_gain"`."""

NOT_AT_HAND = f" (an idea's file lies in {FOLDER}/ or a folder of {PATH_VARIABLE})"
"""What to do where a name is unknown."""

LONGEST_NAME = 60
DECORATOR = "@dataclass(frozen=True, kw_only=True)"
# What begins so beside ideas is a test of one, a helper, or pytest's.
_OTHERS = re.compile(r"test_|_|conftest$")


@dataclass(frozen=True)
class IdeaPlace:
    """An idea's file or folder.

    Attributes:
        path: Absolute; the file, or the folder that holds `__init__.py`.
        module: Its name for Python.
        installed: Python finds it by that name.
    """

    path: Path
    module: str
    installed: bool = False

    @property
    def file(self) -> Path:
        """The file that is executed."""
        return code_of(self.path)


def code_of(path: Path) -> Path:
    """The file that is executed of an idea's file or folder."""
    return path if path.suffix == ".py" else path / "__init__.py"


def search_folders() -> list[Path]:
    """The absolute folders in which ideas are looked for, the working folder's first."""
    with suppress(FileNotFoundError):  # a working folder that is gone holds no ideas
        typed = os.environ.get(PATH_VARIABLE, "").split(os.pathsep)
        named = (Path(text).expanduser().absolute() for text in typed if text)
        return list(dict.fromkeys((Path.cwd() / FOLDER, *named)))
    return []


def search_environment() -> dict[str, str]:
    """The variable that makes a process find the same ideas, whatever its working folder."""
    return {PATH_VARIABLE: os.pathsep.join(map(os.fspath, search_folders()))}


def idea_names() -> list[str]:
    """The names under which ideas may be asked for, sorted."""
    names = {name for folder in search_folders() for name in _names_in(folder)}
    return sorted(names | set(_installed()))


def _names_in(folder: Path) -> Iterator[str]:
    with suppress(OSError):
        for path in folder.iterdir():
            name = path.name.removesuffix(".py")
            if code_of(path).is_file() and name_fault(name) is None:
                yield name


def name_fault(name: str) -> str | None:
    """What makes a name unfit for an idea; None of a fit one."""
    if not (name.isascii() and name.isidentifier()) or keyword.iskeyword(name):
        fit = re.sub(r"\W", "_", name, flags=re.ASCII).lstrip("0123456789_") or "my_idea"
        other = f", such as {fit}" if not keyword.iskeyword(fit) else f", such as {fit}_1"
        return f"names of ideas are Python identifiers of letters, digits and _{other}"
    if len(name) > LONGEST_NAME:
        return f"names of ideas have at most {LONGEST_NAME} characters"
    if _OTHERS.match(name):
        return "names of ideas begin neither with _ nor with test_: those are helpers and tests"
    return None


def other_module(name: str, file: Path | None = None) -> str | None:
    """The fault of an idea whose name Python has for another file's module; None where it is free."""
    found = importlib.util.find_spec(name)
    if found is None or found.origin in {None, str(file)}:
        return None
    return f"Python has a module {name} already ({found.origin}): give it another name"


def check_new_name(name: str, shipped: Collection[str]) -> None:
    """Refuse the name of an idea that is to be written, where it is unfit or taken.

    Raises:
        RequestError: It is.
    """
    fault = name_fault(name)
    if fault is None and name in shipped:
        fault = "is the name of a shipped variant: choose another"
    if fault is None and (place := idea_place(name)) is not None:
        fault = f"is an idea already ({shown_path(place.path)}): choose another name"
    fault = fault or other_module(name)
    if fault:
        raise RequestError(Fault(cut(name), None, fault))


def idea_place(name: str) -> IdeaPlace | None:
    """The place of an idea; None where there is none.

    Raises:
        RequestError: There are several, or the name is unfit for one.
    """
    if os.sep in name or "\0" in name or not name or _OTHERS.match(name):
        return None
    installed = _installed_place(name)
    found = [*_paths_of(name), *([installed.path] if installed else [])]
    apart = list({os.path.realpath(path): path for path in found}.values())
    # A folder without code is an idea that lacks it where nothing else is meant.
    apart = [path for path in apart if os.path.lexists(code_of(path))] or apart[:1]
    if len(apart) > 1:
        raise RequestError(f"two ideas are named {name}: {' and '.join(map(shown_path, apart))}")
    if not apart:
        return None
    if fault := name_fault(name):
        raise RequestError(Fault(where=shown_path(apart[0]), rule=fault))
    return IdeaPlace(apart[0], name) if installed is None else installed


def _paths_of(name: str) -> Iterator[Path]:
    for folder in search_folders():
        file, package = folder / f"{name}.py", folder / name
        with suppress(OSError):  # a name of thousands of letters is none of a file
            if os.path.lexists(file):
                yield file
            if package.is_dir():
                yield package


def shown_path(path: Path) -> str:
    """A path for messages: below the working folder as it would be typed."""
    with suppress(ValueError, FileNotFoundError):
        return os.fspath(path.relative_to(Path.cwd()))
    return os.fspath(path)


def idea_fault(error: BaseException, path: Path) -> Fault:
    """What an idea's own code raised, with the innermost line of its own that it passed.

    Args:
        path: The idea's file or folder.
    """
    if isinstance(error, SyntaxError) and error.filename:
        file, line, words = Path(error.filename), error.lineno or 1, error.msg
    else:
        file, line, words = code_of(path), 1, words_of_code(error)
        for frame in traceback.extract_tb(error.__traceback__):
            if frame.filename.startswith(f"{path.parent}{os.sep}") and frame.lineno:
                file, line = Path(frame.filename), frame.lineno
    return Fault(where=f"{shown_path(file)}:{line}", rule=words)


_NO_NAME = re.compile(r"cannot import name '(\w+)' from '([\w.]+)'")


def words_of_code(error: BaseException) -> str:
    """An exception of foreign code in words, whatever its own do."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        top = error.name.partition(".")[0]
        if top in sys.modules or importlib.util.find_spec(top) is not None:
            return f"there is no module {error.name}"
        return f"needs the package {top}, which is not installed"
    try:
        text = " ".join(str(error).split())
    except Exception:
        text = ""
    if isinstance(error, ImportError) and (match := _NO_NAME.search(text)):
        name, module = match.groups()
        return f"{module} has no {name}{did_you_mean(name, dir(sys.modules.get(module)))}"
    if "non-frozen dataclass from a frozen" in text:
        return f"settings must be frozen: write {DECORATOR}"
    return f"{type(error).__name__}: {text}".removesuffix(": ")


def _installed() -> dict[str, str]:
    return _entry_points(tuple(sys.path))


@cache
def _entry_points(folders: tuple[str, ...]) -> dict[str, str]:
    """Entry points of the group by name, read without importlib.metadata, which takes longer to import."""
    found: dict[str, str] = {}
    for folder in dict.fromkeys(folders):
        for text in _of_distributions(Path(folder or ".")):
            for name, value in _of_group(text):
                found.setdefault(name, value)
    return found


def _of_distributions(folder: Path) -> Iterator[str]:
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(".dist-info"):
                with suppress(OSError, UnicodeDecodeError):
                    file = Path(entry.path, "entry_points.txt")
                    if GROUP in (text := file.read_text(encoding="utf-8")):
                        yield text


def _of_group(text: str) -> Iterator[tuple[str, str]]:
    within = False
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            within = line == f"[{GROUP}]"
        elif within and "=" in line:
            name, _, value = line.partition("=")
            yield name.strip(), value.partition(":")[0].strip()


def _installed_place(name: str) -> IdeaPlace | None:
    """The place of an installed idea; of its packages none is imported.

    Raises:
        RequestError: The entry point leads nowhere.
    """
    module = _installed().get(name)
    if module is None:
        return None
    top, *rest = module.split(".")
    with suppress(ImportError, ValueError):
        spec = importlib.util.find_spec(top)
        if spec is not None and not rest and spec.origin:
            file = Path(spec.origin)
            return IdeaPlace(file.parent if file.name == "__init__.py" else file, module, True)
        for folder in (spec and spec.submodule_search_locations) or ():
            path = Path(folder, *rest)
            if path.with_suffix(".py").is_file():
                return IdeaPlace(path.with_suffix(".py"), module, True)
            if (path / "__init__.py").is_file():
                return IdeaPlace(path, module, True)
    raise RequestError(f"entry point {name} of {GROUP}: there is no module {module}")
