"""Conditions that leave points out, such as `bias_scale > 5 and window_size == 15`: read, never run."""

import ast
import operator
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from aqr_exp.config.compose import Override
from aqr_exp.config.convert import dotted_keys
from aqr_exp.config.schema import RunConfig
from aqr_exp.config.short_names import keys_set_by, short_names, value_at
from aqr_exp.errors import RequestError
from aqr_exp.files.suggest import did_you_mean

Look = Callable[[str], Any]

_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda value, among: value in among,
    ast.NotIn: lambda value, among: value not in among,
}
# As YAML and the command line write them.
_WORDS = {"true": True, "false": False}
_ALLOWED = "keys, numbers, texts, true, false, lists, comparisons, and, or, not"
LONGEST = 1000
ABSENT = object()
"""The value of a name that a point does not have: every comparison with it is false."""


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One condition.

    Attributes:
        text: As written.
        tree: Its expression, of allowed nodes only.
        names: The keys it looks at.
        where: File and line, for messages.
    """

    text: str
    tree: ast.expr
    names: frozenset[str]
    where: str = ""

    def holds(self, look: Look) -> bool:
        """Check whether it is true of a point.

        Args:
            look: The point's value of a key; `ABSENT` where it has none.

        Raises:
            RequestError: It compares what has no order, such as a number with text.
        """
        return bool(_truth(self, self.tree, look))


def read_condition(text: str, known: Collection[str], where: str = "") -> Condition:
    """Read a condition.

    Raises:
        RequestError: It is not an expression, holds more than is allowed, or an unknown key.
    """
    shown = text if len(text) <= 60 else text[:57] + "..."
    if len(text) > LONGEST:
        raise RequestError(f"condition {shown!r}: is longer than {LONGEST} characters: use several")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        names = frozenset(_names(tree))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        hint = ": write == to compare" if re.search(r"[^=<>!]=[^=]", text) else ""
        rule = f"is not an expression of {_ALLOWED}{hint}"
        raise RequestError(f"condition {shown!r}: {rule}") from None
    if not _is_condition(tree):
        raise RequestError(f"condition {shown!r}: compares nothing: write key == value")
    for name in sorted(names - set(_WORDS)):
        if name not in known:
            guess = did_you_mean(name, known)
            raise RequestError(f"condition {shown!r}: unknown key '{name}'{guess}")
    return Condition(text=text.strip(), tree=tree, names=names - set(_WORDS), where=where)


def _names(node: ast.expr) -> list[str]:
    """The keys of an expression.

    Raises:
        ValueError: It holds something that is not allowed.
    """
    inner: list[ast.expr]
    match node:
        case ast.Name() | ast.Attribute():
            return [_dotted(node)]
        case ast.Constant(value=bool() | int() | float() | str()):
            return []
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
            if isinstance(number, bool):
                raise ValueError
            return []
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            inner = [operand]
        case ast.BoolOp(values=inner) | ast.List(elts=inner) | ast.Tuple(elts=inner):
            pass
        case ast.Compare(ops=ops) if all(type(op) in _COMPARE for op in ops):
            inner = [node.left, *node.comparators]
        case _:
            raise ValueError
    return [name for child in inner for name in _names(child)]


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    if isinstance(node, ast.Name):
        return node.id
    raise ValueError


def _is_condition(node: ast.expr) -> bool:
    """Check that a node, of allowed ones, is true or false of a point."""
    match node:
        case ast.BoolOp(values=inner):
            return all(map(_is_condition, inner))
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return _is_condition(operand)
        case ast.Compare():
            return all(map(_is_value, (node.left, *node.comparators)))
    return isinstance(node, (ast.Name, ast.Attribute))


def _is_value(node: ast.expr) -> bool:
    if isinstance(node, (ast.List, ast.Tuple)):
        return all(map(_is_value, node.elts))
    negative = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub)
    return negative or isinstance(node, (ast.Constant, ast.Name, ast.Attribute))


def _truth(condition: Condition, node: ast.expr, look: Look) -> bool:
    match node:
        case ast.BoolOp(values=inner):
            parts = (_truth(condition, child, look) for child in inner)
            return all(parts) if isinstance(node.op, ast.And) else any(parts)
        case ast.UnaryOp(operand=operand):
            return not _truth(condition, operand, look)
        case ast.Compare():
            return _compare(condition, node, look)
    value = _value(node, look)
    return value is not ABSENT and bool(value)


def _compare(condition: Condition, node: ast.Compare, look: Look) -> bool:
    values = [_value(child, look) for child in (node.left, *node.comparators)]
    if _has_absent(values):
        return False
    try:
        pairs = zip(node.ops, pairwise(values), strict=True)
        return all(_COMPARE[type(op)](*pair) for op, pair in pairs)
    except TypeError:
        shown = " and ".join(map(repr, values))
        raise RequestError(
            f"condition {condition.text!r}: {shown} cannot be compared: they differ in kind"
        ) from None


def _has_absent(values: list[Any]) -> bool:
    return any(_has_absent(one) if isinstance(one, list) else one is ABSENT for one in values)


def _value(node: ast.expr, look: Look) -> Any:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [_value(item, look) for item in items]
        case ast.UnaryOp(operand=ast.Constant(value=number)):
            # To a parser `-2` is a minus and a 2.
            return -number  # type: ignore[operator]
    name = _dotted(node)
    return _WORDS[name] if name in _WORDS else look(name)


def looking_at(composed: Mapping[str, Any], chosen: Mapping[str, Any]) -> Look:
    """The values that a condition sees of a point.

    Args:
        composed: The point as plain values.
        chosen: Values of names that are not in it: `seed`, groups, the variant.
    """

    def look(name: str) -> Any:
        if name in chosen:
            return chosen[name]
        first, *others = (value_at(composed, key) for key in keys_set_by(name))
        # A short name of keys that differ has no single value.
        differ = any(value != first for value in others)
        return ABSENT if differ or first is None or isinstance(first, Mapping) else first

    return look


def condition_names(groups: Collection[str]) -> set[str]:
    """Every name a condition may hold."""
    return {*dotted_keys(RunConfig), *short_names(), *groups, "seed"}


def chosen_names(
    variant: str,
    overrides: Iterable[Override],
    composed: Mapping[str, Any],
    groups: Collection[str],
) -> dict[str, Any]:
    """The option of each group: the one a point chooses, or the default."""
    found: dict[str, Any] = {}
    for group in groups:
        node = composed.get(group)
        name = node.get("name") if isinstance(node, Mapping) else node
        if isinstance(name, str):
            found[group] = name
    found |= {item.key: item.value for item in overrides if item.key in groups}
    return found | {"variant": variant}
