"""YAML files that people write: read without executing anything, refused in one line."""

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aqr_exp.errors import Fault, RequestError, cut

MOST_BYTES = 1_000_000
_TAGS = tuple(
    f"tag:yaml.org,2002:{name}" for name in ["map", "seq", "str", "int", "float", "bool", "null"]
)


def yaml_root(path: Path, shown: str, kind: str, needs: str) -> Any:
    """The mapping node a YAML file holds.

    Args:
        shown: The file's name in messages.
        kind: What such a file is called.
        needs: What an empty one lacks, such as `a sweep needs at least 'variant'`.

    Raises:
        RequestError: It cannot be read, is not YAML, or holds something else.
    """
    yaml: Any = importlib.import_module("yaml")
    line, fault = 0, ""
    try:
        if path.stat().st_size > MOST_BYTES:
            fault = f"is larger than {MOST_BYTES} bytes: no {kind} is"
        else:
            root = _composed(yaml, path.read_text(encoding="utf-8"), shown, kind)
            if root is None:
                fault = f"is empty: {needs}"
            elif root.id != "mapping":
                line, fault = 1, "holds no keys: write key: value"
    except OSError as error:
        fault = f"cannot be read: {error.strerror}"
    except UnicodeDecodeError:
        fault = "is not UTF-8 text"
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 0
        problem = " ".join(str(getattr(error, "problem", error)).split())
        fault = f"is not YAML: {problem}"
    if fault:
        raise RequestError(Fault(rule=fault, where=f"{shown}:{line}" if line else shown))
    return root


def _composed(yaml: Any, text: str, shown: str, kind: str) -> Any:
    """The root node of a text, None when it is empty; aliases are refused."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    # One short file of aliases can stand for more nodes than any memory holds.
    for event in yaml.parse(text, Loader=loader):
        if isinstance(event, yaml.AliasEvent):
            rule = f"alias '*{event.anchor}': a {kind} has none: write the value out"
            raise RequestError(Fault(rule=rule, where=f"{shown}:{event.start_mark.line + 1}"))
    return yaml.compose(text, Loader=loader)


def plain_values(root: Any, shown: str) -> Any:
    """The values below a node of `yaml_root`.

    Raises:
        RequestError: A key is given twice or is no word, or a value has a tag; names each.
    """
    yaml: Any = importlib.import_module("yaml")
    try:
        if faults := list(_node_faults(root, "", shown)):
            raise RequestError(*faults)
        return yaml.constructor.SafeConstructor().construct_document(root)
    except RecursionError:
        raise RequestError(Fault(rule="is nested too deeply", where=shown)) from None
    except ValueError as error:  # of a number that Python cannot hold
        raise RequestError(Fault(rule=f"is not YAML: {error}", where=shown)) from None


def _node_faults(node: Any, key: str, shown: str) -> Iterator[Fault]:
    where = f"{shown}:{node.start_mark.line + 1}"
    if node.tag not in _TAGS:
        tag = node.tag.removeprefix("tag:yaml.org,2002:")
        yield Fault(
            key or "the file", None, f"has the tag '{cut(tag)}': write plain values", "", where
        )
    elif node.id == "sequence":
        for place, item in enumerate(node.value):
            yield from _node_faults(item, f"{key}[{place}]", shown)
    elif node.id == "mapping":
        known: set[str] = set()
        for name, value in node.value:
            at = f"{shown}:{name.start_mark.line + 1}"
            if name.id != "scalar" or name.tag != _TAGS[2]:
                yield Fault(key or "the file", None, "has a key that is no word", "", at)
                continue
            inner = f"{key}.{name.value}".lstrip(".")
            if name.value in known:
                yield Fault(inner, None, "is given twice", "", at)
            known.add(name.value)
            yield from _node_faults(value, inner, shown)
