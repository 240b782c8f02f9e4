"""Faults of code that a user wrote, with its file and line."""

import functools
import inspect
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from aqr_exp.errors import AqrExpError, Fault, RunFailedError


def fail_in(function: Any, key: str, rule: str, error: Exception | None = None) -> NoReturn:
    """Fail for what a user's function did, naming its file and line.

    Args:
        function: A function, method, partial or callable object.
        error: What it raised; then the line is the last of the files beside the function's own.

    Raises:
        RunFailedError: Always.
    """
    while isinstance(function, functools.partial):
        function = function.func
    if isinstance(function, type):
        function = getattr(function, "__init__")  # noqa: B009
    function = inspect.unwrap(function)
    code: Any = getattr(function, "__code__", None)
    if code is None:
        code = type(function).__call__.__code__
    file, line = Path(code.co_filename), code.co_firstlineno
    for frame in traceback.extract_tb(error.__traceback__) if error is not None else ():
        if Path(frame.filename).parent == file.parent:
            file, line = Path(frame.filename), frame.lineno or line
    if file.is_relative_to(Path.cwd()):
        file = file.relative_to(Path.cwd())
    raise RunFailedError(Fault(key, None, rule, where=f"{file}:{line}").line) from error


def call_own(function: Any, key: str, *arguments: Any) -> Any:
    """Call a user's function; what an iterator yields is a list.

    Raises:
        RunFailedError: It raised something; names file and line.
    """
    try:
        found = function(*arguments)
        return list(found) if isinstance(found, Iterator) else found
    except (AqrExpError, MemoryError):
        raise
    except Exception as error:  # whatever an author's code raises
        if type(error).__name__ == "OutOfMemoryError":
            raise
        words = f"{type(error).__name__}: {error}".split("\n", 1)[0]
        fail_in(function, key, words, error)


def kind_of(value: Any) -> str:
    """The type of a value, in words."""
    dtype = getattr(value, "dtype", None)
    if dtype is not None:
        return f"an array of {str(dtype).removeprefix('torch.')}"
    return "None" if value is None else type(value).__name__
