"""`aqr-exp config` and `aqr-exp why`: a run's configuration, and what makes two runs differ."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from aqr_exp.cli import completion, console
from aqr_exp.config.compose import group_options, source_of
from aqr_exp.config.identity import (
    Difference,
    IdentityEffect,
    as_dict,
    differences,
    from_spec,
    run_name,
    to_yaml,
)
from aqr_exp.config.inputs import with_data_identity
from aqr_exp.config.load import load_run
from aqr_exp.config.short_names import overrides_help
from aqr_exp.config.sources import check_sources, modules_of, source_difference
from aqr_exp.config.variant_spec import example_lines, spec_of
from aqr_exp.errors import AqrExpError, RequestError
from aqr_exp.files.run_name import arm_of
from aqr_exp.files.suggest import did_you_mean
from aqr_exp.statistics.confounders import changed_modules
from aqr_exp.store.collect import intact_row
from aqr_exp.store.store import Store, results_root

CONFIG_HELP = f"""
\b
Examples:
  aqr-exp config baseline
  aqr-exp config baseline schedule=standard model.head.layers=3
  aqr-exp config baseline --json
{example_lines("config")}

{overrides_help()}"""


def config_command(
    variant: console.Variant,
    overrides: console.Overrides = None,
    as_json: console.Json = False,
) -> None:
    """Compose, check and print one run's configuration."""
    config = load_run(variant, overrides or [])

    unknown = None
    try:
        config = with_data_identity(config)
    except AqrExpError as error:
        unknown = str(error)
    name = None if unknown else run_name(config)
    if as_json:
        console.print_json({"run": name, "config": as_dict(config)})
        return
    head = f"# run: {name}" if name else f"# run: not known before its data are there: {unknown}"
    preset = f"# preset {config.preset}: {source_of('preset', config.preset)}"
    console.data(f"{head}\n{preset}\n{to_yaml(config)}")


WHY_HELP = f"""
A run is the name of one in the results folder (or its beginning), or the arguments of
`aqr-exp run`, as one argument.

\b
Examples:
  aqr-exp why baseline-8fe737191530-s0 baseline-8fe737191530-s1
{example_lines("why")}
"""

ONE = ("A run's name, or a variant with overrides as one argument.", completion.runs_or_variants)
LONGEST = 60


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of the two runs: its name, by what its configuration says, all of that, and its code.

    Attributes:
        sources: The files of its idea; none of a shipped variant.
        modules: As `RunRow.modules`.
    """

    name: str
    spec: dict[str, Any]
    sources: Mapping[str, bytes]
    modules: Mapping[str, str]


def why_command(
    ours: Annotated[str, console.argument("A", *ONE)],
    theirs: Annotated[str, console.argument("B", *ONE)],
    as_json: console.Json = False,
) -> int:
    """Compare two runs' effective configurations; returns the exit code."""
    one, other = side(ours), side(theirs)
    found = differences(one.spec, other.spec)
    if as_json:
        console.print_json(_as_json(one, other, found))
    else:
        console.data(explanation(one, other, found))
    return 0


def side(asked: str) -> Side:
    """Find or compose one of the two.

    Raises:
        RequestError: Neither; says what is wrong with it.
    """
    try:
        words = shlex.split(asked)
    except ValueError as error:
        raise RequestError(f"{asked!r} cannot be read: {error}") from None
    store = Store(results_root())
    variants = group_options()["variant"]
    if len(words) > 1 or asked in variants:
        config = with_data_identity(load_run(words[0], words[1:]))
        return Side(
            name=run_name(config),
            spec=as_dict(config),
            sources=check_sources(config),
            modules=modules_of(spec_of(config.variant)),
        )
    try:
        folder = store.find(asked)
    except RequestError:
        # Only a run's name has a dash.
        guess = "" if "-" in asked else did_you_mean(asked, variants)
        if not guess:
            raise
        raise RequestError(f"unknown run or variant '{asked}'{guess}") from None
    row = intact_row(folder)
    spec = folder.read_spec()
    try:
        name = run_name(from_spec(spec))
    except RequestError:
        name = folder.name  # written by another version: what it says can still be compared
    return Side(name=name, spec=spec, sources=folder.read_sources(), modules=row.modules)


def verdict(one: Side, other: Side, found: list[Difference]) -> str:
    """Relation of two runs: `same`, `replicates` or `different`."""
    effects = {item.effect for item in found}
    if IdentityEffect.CHANGES in effects or arm_of(one.name) != arm_of(other.name):
        return "different"
    return "replicates" if IdentityEffect.SEED_ONLY in effects else "same"


def explanation(one: Side, other: Side, found: list[Difference]) -> str:
    """The verdict in a sentence, and the differing keys by what they mean."""
    counting = [item for item in found if item.effect is IdentityEffect.CHANGES]
    what = verdict(one, other, found)
    if what == "same":
        head = f"the same run: {one.name}"
    elif what == "replicates":
        head = f"replicates of one point, by their seeds: {one.name} and {other.name}"
    else:
        keys = "1 key" if len(counting) == 1 else f"{len(counting)} keys"
        head = f"different runs, by {keys}: {one.name} and {other.name}"
        if not counting:
            head = f"different runs, by how versions write them: {one.name} and {other.name}"
    lines = [head]
    for effect, title in (
        (IdentityEffect.CHANGES, "can change the numbers:"),
        (IdentityEffect.SEED_ONLY, "the replicate, beside the identity:"),
        (
            IdentityEffect.LAST_DIGITS,
            "can change last digits, which training amplifies, and is not in the identity:",
        ),
        (IdentityEffect.NONE, "cannot change the numbers, and is not in the identity:"),
    ):
        items = [item for item in found if item.effect is effect]
        lines += [title] * bool(items)
        lines += [f"  {item.key}: {_show(item.ours)} | {_show(item.theirs)}" for item in items]
    if not found:
        lines.append("no key differs")
    changed = changed_modules(one.modules, other.modules)
    if changed:
        lines.append(f"made by other code: {', '.join(changed)}")
    if one.sources.keys() & other.sources.keys():
        lines += source_difference(one.sources, other.sources)
    return "\n".join(lines)


def _show(value: Any) -> str:
    """A value on one line; of a whole part what it is, not all of it."""
    if isinstance(value, dict):
        return f"present ({len(value)} keys)"
    text = value if isinstance(value, str) and value else repr(value)
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def _as_json(one: Side, other: Side, found: list[Difference]) -> dict[str, Any]:
    return {
        "verdict": verdict(one, other, found),
        "a": one.name,
        "b": other.name,
        "differences": [
            {"key": item.key, "a": item.ours, "b": item.theirs, "bearing": item.effect.value}
            for item in found
        ],
    }
