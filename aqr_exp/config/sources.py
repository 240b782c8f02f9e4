"""Sources of Python code: the files that a file imports, found without running any, and their hashes."""

import ast
import contextlib
import difflib
import hashlib
import os
import re
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

import aqr_exp
from aqr_exp.config.idea_files import code_of, shown_path
from aqr_exp.config.schema.run import RunConfig
from aqr_exp.config.variant_spec import VariantSpec, spec_of
from aqr_exp.errors import AqrExpError, Fault, RequestError
from aqr_exp.files.cache import cache_of, read_cache, write_cache
from aqr_exp.files.reading import read_content

_DIGITS = 12
PACKAGE = Path(aqr_exp.__file__).resolve().parent
_PACKAGE_NAME = PACKAGE.name
# What a training process runs first; what it imports by name stands as text in its sources.
_TRAINING, _VARIANTS = f"{_PACKAGE_NAME}.train.__main__", f"{_PACKAGE_NAME}.variants"


class Parsed(msgspec.Struct, frozen=True, array_like=True):
    """One source file as far as others depend on it.

    Attributes:
        digest: Of its syntax, without comments, formatting and docstrings.
        imports: Dotted names that it imports, each with that of the module it may lie in; relative
            ones begin with dots.
    """

    digest: str
    imports: tuple[str, ...]


@dataclass(frozen=True)
class Root:
    """A folder that modules are imported from.

    Attributes:
        only: The one top-level name that is looked for there; None for every name.
    """

    folder: Path
    only: str | None = None


def parse(content: bytes) -> Parsed:
    """Parse a file; one that is no Python is as it is, byte by byte, and imports nothing."""
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return Parsed(digest=_short(content), imports=())
    return Parsed(
        digest=_short("".join(_normal(tree)).encode("utf-8", "surrogatepass")),
        imports=tuple(dict.fromkeys(name for node in ast.walk(tree) for name in _imports(node))),
    )


def _short(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_DIGITS]


# Derived from other fields, or of the text and not of its meaning.
_NO_SYNTAX = frozenset({"ctx", "kind", "type_comment", "type_ignores"})


def _normal(tree: ast.AST) -> Iterator[str]:
    """The syntax in a form that is the same for Python 3.10 to 3.13: empty fields are left out."""
    stack: list[object] = [tree]
    while stack:
        item = stack.pop()
        if isinstance(item, _Text):
            yield item
        elif isinstance(item, list):
            stack.append(_Text("]"))
            stack += [part for part in reversed(item) if not _is_bare_text(part)]
            yield "["
        elif isinstance(item, ast.AST):
            stack.append(_Text(")"))
            for name, value in reversed(list(ast.iter_fields(item))):
                if name not in _NO_SYNTAX and value is not None and value != []:
                    stack += [value, _Text(f" {name}=")]
            yield f"{type(item).__name__}("
        else:
            # Python writes no whole number of thousands of digits, but in hexadecimal ones.
            yield hex(item) if type(item) is int else repr(item)
            yield ","


class _Text(str):
    """Text of the form itself, among the values."""

    __slots__ = ()


def _is_bare_text(node: object) -> bool:
    """Whether a statement is a text and nothing else: a docstring, wherever it stands."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


_NAMES_A_MODULE = re.compile(rf"({_PACKAGE_NAME}(?:\.\w+)+)(?::\w+)?")


def _imports(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        start = "." * node.level + (node.module or "")
        joint = "." if node.module else ""
        for alias in node.names:
            yield start if alias.name == "*" else f"{start}{joint}{alias.name}"
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        found = _NAMES_A_MODULE.fullmatch(node.value)
        yield from found.groups() if found else ()


class Source(NamedTuple):
    """One file of a closure: its content, and what follows from it."""

    content: bytes
    parsed: Parsed


def closure(starts: Iterable[Path], roots: Sequence[Root]) -> tuple[dict[Path, Source], set[str]]:
    """Every file that Python may execute to run some files, as far as it lies in some folders.

    Conditional imports are followed. What lies elsewhere is left to run time.

    Returns:
        The files; and the absolute names that were found in none of the folders.

    Raises:
        AqrExpError: A file cannot be read; names it.
    """
    found: dict[Path, Source] = {}
    elsewhere: set[str] = set()
    finder = _Finder(roots)
    todo = list(starts)
    with _parsed_files() as parsed:
        while todo:
            path = todo.pop()
            if path in found:
                continue
            found[path] = parsed(path)
            for name in found[path].parsed.imports:
                there = finder.files_of(name, path)
                if not there and name[0] != ".":
                    elsewhere.add(name)
                todo += there
    return found, elsewhere


class _Finder:
    """Finds the files of imported names; it lists each folder once.

    Args:
        roots: Where absolute names are looked for, in this order.
    """

    def __init__(self, roots: Sequence[Root]) -> None:
        self._roots = roots
        self._listed: dict[Path, frozenset[str]] = {}
        self._known: dict[tuple[Path, str], tuple[Path, ...]] = {}

    def files_of(self, name: str, importer: Path) -> tuple[Path, ...]:
        """The files that importing a name executes: those of its packages, and its own."""
        bare = name.lstrip(".")
        level = len(name) - len(bare)
        if level:
            above = importer.parents
            return self._below(above[level - 1], bare) if level <= len(above) else ()
        top = bare.split(".", 1)[0]
        wanted = {top} if top == _PACKAGE_NAME else {top, None}
        for root in self._roots:
            if root.only in wanted and (files := self._below(root.folder, bare, absolute=True)):
                return files
        return ()

    def _below(self, folder: Path, name: str, *, absolute: bool = False) -> tuple[Path, ...]:
        if (folder, name) not in self._known:
            self._known[folder, name] = tuple(self._walk(folder, name, absolute=absolute))
        return self._known[folder, name]

    def _walk(self, folder: Path, name: str, *, absolute: bool) -> Iterator[Path]:
        if not absolute and self._has(folder, "__init__.py"):
            yield folder / "__init__.py"
        for part in filter(None, name.split(".")):
            if self._has(folder / part, "__init__.py"):
                yield folder / part / "__init__.py"
            elif self._has(folder, f"{part}.py"):
                yield folder / f"{part}.py"
                return
            elif part not in self._names(folder):
                return
            folder /= part

    def _has(self, folder: Path, name: str) -> bool:
        return name in self._names(folder) and (folder / name).is_file()

    def _names(self, folder: Path) -> frozenset[str]:
        if folder not in self._listed:
            try:
                self._listed[folder] = frozenset(os.listdir(folder))  # noqa: PTH208 - names only
            except OSError:
                self._listed[folder] = frozenset()
        return self._listed[folder]


# No source of a person is longer; what they import of one idea is not either.
MOST_BYTES = 1 << 20
_MOST_KEPT = 4000


@contextlib.contextmanager
def _parsed_files() -> Iterator[Callable[[Path], Source]]:
    """Parse files, each content once: what came of it is kept in this user's caches."""
    version = ".".join(map(str, sys.version_info[:2]))
    path = cache_of(PACKAGE) / f"sources-{version}.msgpack"
    known = read_cache(path, dict[str, Parsed]) or {}
    used: dict[str, Parsed] = {}

    def parsed(path: Path) -> Source:
        content = read_content(path, at_most=MOST_BYTES)
        digest = hashlib.sha256(content).hexdigest()
        if digest not in used:
            used[digest] = known.get(digest) or parse(content)
        return Source(content, used[digest])

    yield parsed
    if used.keys() - known.keys():
        # The newest last: of many editions the oldest are forgotten.
        write_cache(path, dict(list({**known, **used}.items())[-_MOST_KEPT:]))


def modules_of(spec: VariantSpec[Any]) -> dict[str, str]:
    """The modules of this package that training and scoring of a variant may load, with their hashes.

    Returns:
        Digests by path, such as `aqr_exp/cmt/head.py`, sorted.
    """
    own = [f"{_VARIANTS}.{spec.name}", *([spec.module.split(":")[0]] if spec.module else [])]
    own += [] if spec.origin is None else sources_of(spec.origin).package
    roots = (Root(PACKAGE.parent, only=PACKAGE.name),)
    finder = _Finder(roots)
    files = [path for name in (_TRAINING, *own) for path in finder.files_of(name, PACKAGE)]
    found, _ = closure(files, roots)
    named = {path.relative_to(PACKAGE.parent).as_posix(): it for path, it in found.items()}
    return {name: named[name].parsed.digest for name in sorted(named)}


@dataclass(frozen=True)
class Sources:
    """The files of an idea: its own, and those that they import outside this package and site-packages.

    Attributes:
        digest: Of their syntax and names.
        files: Contents by path, as imported from one folder: `my_gain.py`, `helpers/norm.py`.
        package: Names of this package that they import.
    """

    digest: str
    files: Mapping[str, bytes]
    package: tuple[str, ...]


def sources_of(origin: Path) -> Sources:
    """The sources of an idea as they are now.

    Args:
        origin: Its file or folder.

    Raises:
        RequestError: One cannot be read, or they are too large to be stored with runs.
    """
    top, starts = origin.parent, [code_of(origin)]
    while (init := top / "__init__.py").exists():
        top = top.parent
        starts.append(init)
    first = origin.relative_to(top).parts[0].removesuffix(".py")
    roots = [Root(top, only=first if _is_installed(top) else None), Root(origin.parent)]
    roots = roots[: 1 + (top != origin.parent)] + [Root(folder) for folder in _own_folders()]
    try:
        found, elsewhere = closure(starts, roots)
    except AqrExpError as error:
        raise RequestError(str(error)) from None
    size = sum(len(source.content) for source in found.values())
    if size > MOST_BYTES:
        rule = f"it and what it imports have {size:,} bytes: at most {MOST_BYTES:,} are stored with a run"
        raise RequestError(Fault(where=shown_path(origin), rule=rule))
    named = {_name_below(path, roots): source for path, source in found.items()}
    text = "".join(f"{name}\0{named[name].parsed.digest}\n" for name in sorted(named))
    return Sources(
        digest=_short(text.encode()),
        files={name: named[name].content for name in sorted(named)},
        package=tuple(sorted(name for name in elsewhere if name.split(".")[0] == _PACKAGE_NAME)),
    )


def _name_below(path: Path, roots: Sequence[Root]) -> str:
    folder = next(root.folder for root in roots if path.is_relative_to(root.folder))
    return path.relative_to(folder).as_posix()


def _is_installed(folder: Path) -> bool:
    """Whether packages of others lie in a folder: those of this Python, not a user's own."""
    fixed = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "scripts")}
    return bool({"site-packages", "dist-packages"} & {*folder.parts}) or any(
        folder.is_relative_to(place) for place in fixed if place
    )


def _own_folders() -> Iterator[Path]:
    """The folders of Python's search path that are a user's own, in every process the same ones."""
    typed = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    asked = {Path(entry).absolute() for entry in typed if entry}
    here = Path.cwd()
    for entry in filter(None, sys.path):
        # `python -m` adds the working folder, and a script its own.
        folder = Path(entry).absolute()
        if (folder != here or folder in asked) and not _is_installed(folder):
            yield folder


def check_sources(config: RunConfig) -> Mapping[str, bytes]:
    """The files of a run's idea as they are now, which must be what the run was made of.

    Returns:
        As `Sources.files`; none of a shipped variant.

    Raises:
        RequestError: They changed; names the idea's file.
    """
    origin = spec_of(config.variant).origin
    now = None if origin is None else sources_of(origin)
    if (now and now.digest) != config.sources:
        what = config.variant.name if origin is None else shown_path(origin)
        rule = "is not what the run was made of"
        hint = " (`aqr-exp show RUN --sources FOLDER` writes that out)"
        raise RequestError(Fault(where=what, rule=rule, hint=hint))
    return now.files if now else {}


def source_difference(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> list[str]:
    """The unified difference of an idea's files, line by line."""
    lines: list[str] = []
    for name in sorted({*before, *after}):
        one, other = (
            files.get(name, b"").decode(errors="replace").splitlines() for files in (before, after)
        )
        lines += difflib.unified_diff(one, other, f"A/{name}", f"B/{name}", lineterm="")
    return lines
