"""From an idea's file to its `VariantSpec`: imported and checked.

Whatever is wrong with the file is one fault that names file and line.
"""

import ast
import dataclasses
import difflib
import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import replace
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from aqr_exp.config.compose import group_options
from aqr_exp.config.convert import dotted_keys, field_faults, unusable_fields
from aqr_exp.config.idea_files import (
    DECORATOR,
    IdeaPlace,
    idea_fault,
    other_module,
    shown_path,
    words_of_code,
)
from aqr_exp.config.schema.run import RunConfig, VariantSettings
from aqr_exp.config.short_names import short_names
from aqr_exp.config.variant_spec import VariantSpec, shipped_specs
from aqr_exp.errors import Fault, RequestError, refusal
from aqr_exp.files.reading import open_regular
from aqr_exp.files.suggest import did_you_mean, some

Rules = Callable[[Any, RunConfig], Iterator[Fault]]
LARGEST_BYTES = 1 << 20
# The module that authors import from; named, since it lies above this one.
PUBLIC = "aqr_exp.ideas"


def read_idea(name: str, place: IdeaPlace) -> VariantSpec[Any]:
    """Import an idea and make the spec of what it holds.

    Raises:
        RequestError: What is wrong with it, with file and line.
    """
    module = imported(place)
    given = _given(module, name, place)
    settings = _only_class(module, place, "Settings")
    idea = _only_class(module, place, "Idea")
    base = _base_of(module, place, settings)
    defaults = _defaults(settings, VariantSettings if base is None else base.settings)
    above = {} if base is None else {"defaults": [base.name, "_self_"]}
    made = {
        "name": name,
        "summary": next(iter((module.__doc__ or "").strip().splitlines()), ""),
        "settings": settings,
        "module": f"{idea.__module__}:{idea.__qualname__}",
        "module_arguments": _arguments,
        "overrides_help": "",
        "examples": (),
    }
    root = importlib.import_module(PUBLIC).Idea
    _check_hooks(idea, root)
    made |= _class_level(idea, root)
    if base is not None and "rules" in given:
        given["rules"] = _both(base.rules, given["rules"])
    option = {**above, "name": name, **defaults}
    spec: VariantSpec[Any] = replace(
        base or VariantSpec(), **made | given, origin=place.path, option=option
    )
    _check_short_names(spec, place)
    return spec


CLASS_LEVEL = ("learning_rates", "train_transforms", "warnings", "figure")


def _check_hooks(idea: Any, root: Any) -> None:
    """Refuse a module that would change nothing, or has what looks like a hook and is never called.

    Raises:
        RequestError: It overrides no hook, or a method of its own has nearly the name of one.
    """
    file, name = _file_of(idea), idea.__name__
    hooks = [key for key, value in vars(root).items() if key[:2] != "__" and callable(value)]
    left = [key for key in hooks if getattr(idea, key) is getattr(root, key)]
    for key, value in vars(idea).items():
        if key[0] != "_" and callable(value) and not isinstance(value, type):
            near = [] if hasattr(root, key) else difflib.get_close_matches(key, left, 1, cutoff=0.8)
            if near:
                hint = f": did you mean '{near[0]}'? (names of helpers begin with _)"
                _refuse(file, _line_of(file, name, key), f"{key} is no hook", hint=hint)
    if len(left) == len(hooks):
        rule = f"{name} overrides no hook and would change nothing (hooks: {some(hooks)})"
        _refuse(file, _line_of(file, name), rule)


def _class_level(idea: Any, root: Any) -> dict[str, Any]:
    """What the module's class says of the whole variant, as far as it overrides it."""
    own = {name for name in vars(root) if getattr(idea, name) is not getattr(root, name)}
    found = {name: getattr(idea, name) for name in CLASS_LEVEL if name in own}
    return found | {"both_sensors": not own.isdisjoint(root.forward_hooks)}


def _arguments(settings: Any, run: Any) -> dict[str, Any]:
    return {"settings": settings, "run": run}


def _both(one: Rules, other: Rules) -> Rules:
    return lambda settings, run: chain(one(settings, run), other(settings, run))


def _given(module: ModuleType, name: str, place: IdeaPlace) -> dict[str, Any]:
    """What the author wrote in a `SPEC`, by field.

    Raises:
        RequestError: It is no spec, or that of another name.
    """
    empty: VariantSpec[Any] = VariantSpec()
    spec = getattr(module, "SPEC", empty)
    if not isinstance(spec, VariantSpec) or spec.name not in {"", name}:
        rule = f"SPEC must be a VariantSpec without a name: the idea's is {name}"
        _refuse(place.file, _line_of(place.file, "SPEC"), rule)
    written = {each.name: getattr(spec, each.name) for each in dataclasses.fields(spec)}
    return {key: value for key, value in written.items() if value != getattr(empty, key)}


def imported(place: IdeaPlace) -> ModuleType:
    """The module of an idea.

    Raises:
        RequestError: It cannot be read or executed, or its name is that of another module.
    """
    try:
        with redirect_stdout(sys.stderr):  # what it prints is no part of an answer
            return importlib.import_module(place.module) if place.installed else _executed(place)
    except RequestError:
        raise
    except (Exception, SystemExit) as error:
        raise RequestError(idea_fault(error, place.path)) from None


# The folders that ideas were executed in, by the names of their modules.
_EXECUTED: dict[str, str] = {}


def _executed(place: IdeaPlace) -> ModuleType:
    """Execute an idea's file, from what it says now and not from what Python compiled earlier.

    Its folder goes to the end of Python's search path: it may import what lies beside it.
    """
    name, source = place.module, _source(place)
    for other in [key for key in sys.modules if f"{key}.".startswith(f"{name}.")]:
        if name in _EXECUTED or getattr(sys.modules[name], "__file__", "") == str(place.file):
            del sys.modules[other]
    if (before := _EXECUTED.pop(name, None)) in sys.path:
        sys.path.remove(str(before))
    if taken := other_module(name, place.file):
        raise RequestError(Fault(where=shown_path(place.path), rule=taken))
    below = None if place.path == place.file else [str(place.path)]
    spec = importlib.util.spec_from_file_location(
        name, place.file, submodule_search_locations=below
    )
    assert spec is not None  # noqa: S101 - the file's name ends in .py
    module = importlib.util.module_from_spec(spec)
    code = compile(source, str(place.file), "exec", dont_inherit=True)
    sys.path.append(str(place.path.parent))
    sys.modules[name], _EXECUTED[name] = module, sys.path[-1]
    try:
        exec(code, vars(module))  # noqa: S102 - asked for by its name
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _source(place: IdeaPlace) -> str:
    """The text of an idea's file.

    Raises:
        RequestError: There is none, or it is not UTF-8.
    """
    if not os.path.lexists(place.file):
        rule = f"the folder holds no {place.file.name}"
        raise RequestError(Fault(where=shown_path(place.path), rule=rule))
    try:
        with open_regular(place.file) as file:
            content = file.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise RequestError(replace(refusal(error), where=shown_path(place.file))) from None
    if len(content) > LARGEST_BYTES:
        _refuse(place.file, 1, f"has more than {LARGEST_BYTES} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        _refuse(place.file, line, "is not UTF-8 text")


def _refuse(file: Path, line: int, rule: str, hint: str = "") -> NoReturn:
    raise RequestError(Fault(where=f"{shown_path(file)}:{line}", rule=rule, hint=hint))


def _line_of(file: Path, name: str, field: str = "") -> int:
    """The line on which a file says what a name, or a field of a class, is; 1 where it does not."""
    lines = {"": 1}
    for node in ast.walk(ast.parse(file.read_bytes())):
        for each in [node, *(node.body if isinstance(node, ast.ClassDef) else ())]:
            prefix = f"{node.name}." if isinstance(node, ast.ClassDef) and each is not node else ""
            for key in _names_of(each):
                lines.setdefault(f"{prefix}{key}", each.lineno)
    return lines.get(f"{name}.{field}" if field else name) or lines.get(name, 1)


def _names_of(node: Any) -> list[str]:
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        return [node.name]
    targets = getattr(node, "targets", [getattr(node, "target", None)])
    # The names of a comprehension have no line of their own.
    targets = [] if isinstance(node, ast.comprehension) else targets
    return [each.id for each in targets if isinstance(each, ast.Name)]


def _file_of(kind: type) -> Path:
    return Path(str(sys.modules[kind.__module__].__file__))


def _only_class(module: ModuleType, place: IdeaPlace, role: str) -> Any:
    """The class of an idea that derives from one of the public ones; with _ helpers begin.

    Raises:
        RequestError: There is none, or several.
    """
    base = getattr(importlib.import_module(PUBLIC), role)
    found = {
        kind.__qualname__: kind
        for kind in vars(module).values()
        if isinstance(kind, type)
        and issubclass(kind, base)
        and f"{kind.__module__}.".startswith(f"{module.__name__}.")
        and not kind.__name__.startswith("_")
    }
    if not found:
        _refuse(place.file, 1, f"has no class that derives from {role} of {PUBLIC}")
    if len(found) > 1:
        one, other, *_ = found.values()
        rule = f"two classes derive from {role}: {one.__name__} and {other.__name__}"
        hint = " (keep one; names of helpers begin with _)"
        _refuse(_file_of(other), _line_of(_file_of(other), other.__name__), rule, hint=hint)
    return next(iter(found.values()))


def _base_of(
    module: ModuleType, place: IdeaPlace, settings: type[VariantSettings]
) -> VariantSpec[Any] | None:
    """The shipped variant that an idea is based on; None without one.

    Raises:
        RequestError: There is no such variant, or the idea's settings are not derived from its.
    """
    name = getattr(module, "based_on", None)
    if name is None:
        return None
    line, specs = _line_of(place.file, "based_on"), shipped_specs()
    if not isinstance(name, str) or name not in specs:
        guess = did_you_mean(str(name), specs)
        _refuse(place.file, line, f"based_on must be one of {', '.join(specs)}", hint=guess)
    if not issubclass(settings, specs[name].settings):
        needed = specs[name].settings.__name__
        rule = f"{settings.__name__} must derive from {needed}, the settings of {name}"
        _refuse(place.file, _line_of(_file_of(settings), settings.__name__), rule)
    return specs[name]


def _defaults(settings: type[VariantSettings], above: type[VariantSettings]) -> dict[str, Any]:
    """The defaults of the settings' own fields as plain values.

    Raises:
        RequestError: A field has none, or one that it does not allow, or it is of a type that no
            setting has.
    """
    file, name = _file_of(settings), settings.__name__
    if "__dataclass_fields__" not in vars(settings):
        _refuse(file, _line_of(file, name), f"{name} is no dataclass: write {DECORATOR}")
    inherited = {each.name for each in dataclasses.fields(above)}
    own = [each for each in dataclasses.fields(settings) if each.name not in inherited]
    try:
        unusable = dict(unusable_fields(settings))
    except NameError as error:
        _refuse(file, _line_of(file, name), words_of_code(error))
    values = {}
    for each in own:
        line = _line_of(file, name, each.name)
        if each.name in unusable:
            _refuse(file, line, f"{each.name}: {unusable[each.name]}")
        if each.default is not dataclasses.MISSING:
            values[each.name] = each.default
        elif each.default_factory is not dataclasses.MISSING:
            values[each.name] = _made_by(each.default_factory, file, line)
        if each.name not in values or not each.init:
            _refuse(file, line, f"{each.name} has no default: every setting needs one")
        if isinstance(values[each.name], str) and "${" in values[each.name]:
            _refuse(file, line, f"{each.name}: a default is a text as it is, without ${{")
    found = {key: _plain(value) for key, value in values.items()}
    for fault in field_faults(settings, found):
        line = _line_of(file, name, re.split(r"[.\[]", fault.key)[0])
        raise RequestError(replace(fault, where=f"{shown_path(file)}:{line}"))
    return found


def _made_by(factory: Callable[[], Any], file: Path, line: int) -> Any:
    try:
        return factory()
    except Exception as error:
        _refuse(file, line, words_of_code(error))


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {each.name: _plain(getattr(value, each.name)) for each in dataclasses.fields(value)}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return dict(value) if isinstance(value, dict) else value


def _check_short_names(spec: VariantSpec[Any], place: IdeaPlace) -> None:
    """Refuse short names that set no key of the idea, or that stand for something else already.

    Raises:
        RequestError: There is one.
    """
    keys = {f"variant.{key}" for key in dotted_keys(spec.settings)} - {"variant.name"}
    taken = {*dotted_keys(RunConfig), *group_options()}
    line = _line_of(place.file, "SPEC")
    for short, sets in spec.short_names.items():
        if short in taken or short_names().get(short, sets) != sets:
            _refuse(place.file, line, f"short name {short!r} is taken: choose another")
        for key in sets:
            if key not in keys:
                rule = f"short name {short!r} sets {key!r}, which is no key of the idea"
                _refuse(place.file, line, rule, hint=did_you_mean(key, keys))
