"""The names a condition may hold: keys, short names, groups, the variant and the seed."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from aqr_exp.config.fields import dotted_keys
from aqr_exp.config.points import Override
from aqr_exp.config.schema import RunConfig
from aqr_exp.config.short_names import SHORT_NAMES


def condition_names(groups: Collection[str]) -> set[str]:
    """Every name a condition may hold.

    Args:
        groups: The names of Hydra's groups.
    """
    return {*dotted_keys(RunConfig), *SHORT_NAMES, *groups, "seed"}


def chosen_names(
    variant: str,
    overrides: Iterable[Override],
    composed: Mapping[str, Any],
    groups: Collection[str],
) -> dict[str, Any]:
    """What the names of groups stand for: the option a point chooses, or the name of the default.

    Args:
        variant: The point's variant.
        overrides: Its overrides.
        composed: Its plain values.
        groups: The names of Hydra's groups.
    """
    found: dict[str, Any] = {}
    for group in groups:
        node = composed.get(group)
        name = node.get("name") if isinstance(node, Mapping) else node
        if isinstance(name, str):
            found[group] = name
    found |= {item.key: item.value for item in overrides if item.key in groups}
    return found | {"variant": variant}
