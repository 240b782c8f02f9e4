"""Shell completion of variants, overrides, sweeps and runs.

Every command imports these functions and few ever call them: what they need is imported inside them.
"""

import os
from collections.abc import Iterable

import typer


def variants() -> list[str]:
    """The variants' names."""
    from aqr_exp.config.compose import group_options

    return list(group_options()["variant"])


def own_metrics() -> list[str]:
    """The own metrics whose files are at hand."""
    from aqr_exp.evaluate.own_metric_files import metric_files
    from aqr_exp.store.store import results_root

    return [*metric_files(results_root())]


def run_names() -> list[str]:
    """The runs of the results folder."""
    from aqr_exp.store.store import Store, results_root

    return Store(results_root()).folder_names()


def started_sweeps() -> list[str]:
    """The sweeps that were started in the results folder."""
    from aqr_exp.store.store import Store, results_root

    return Store(results_root()).sweep_names()


def runs_or_sweeps() -> list[str]:
    """The sweeps that were started, and the runs."""
    return [*started_sweeps(), *run_names()]


def arms_or_runs() -> list[str]:
    """The arms and the runs of the results folder."""
    from aqr_exp.files.run_name import arm_of

    names = run_names()
    return [*dict.fromkeys(map(arm_of, names)), *names]


def runs_or_variants() -> list[str]:
    """The variants, and the runs of the results folder."""
    return [*variants(), *run_names()]


def sweeps() -> list[str]:
    """The shipped sweeps, those that were started, and the variants; a shell adds files."""
    from aqr_exp.config.compose import shipped_folder

    shipped = sorted(file.stem for file in shipped_folder("sweeps").glob("*.yaml"))
    return list(dict.fromkeys([*shipped, *started_sweeps(), *variants()]))


def listed_runs_or_sweeps(incomplete: str) -> list[str]:
    """Runs and sweeps of a list with commas between, of which the last is completed."""
    return _after_last_comma(incomplete, runs_or_sweeps())


def corruption_cases(incomplete: str) -> list[str]:
    """Cases of `--failures`, with commas between."""
    from aqr_exp.data.corruptions.cases import CORRUPTIONS, SUITES, standard_cases

    cases = [case.name for case in standard_cases(None)]
    return _after_last_comma(incomplete, [*SUITES, *CORRUPTIONS, *cases])


def overrides(ctx: typer.Context, incomplete: str) -> list[str]:
    """Keys and groups as `key=`; after the equals sign the values of groups, enums and switches."""
    split = _split_by_bash()
    if split is not None:
        return _after_last_comma(incomplete, _values(split))
    key, equals, value = incomplete.partition("=")
    if equals:
        return [f"{key}={item}" for item in _after_last_comma(value, _values(key))]
    variant = str(ctx.params.get("variant") or ctx.params.get("what") or "baseline")
    keys = [item for item in _keys(variant) if item.startswith(incomplete)]
    if len(keys) == 1:
        # Of several candidates a shell inserts what they share, `key=` here, and no space after it.
        (key,) = keys
        return [f"{key}={item}" for item in _values(key)] or _with_default(key, variant)
    if not incomplete:
        keys = [item for item in keys if "." not in item]
    return [f"{key}=" for key in keys]


def _split_by_bash() -> str | None:
    """The key of the value at the cursor where bash has split `key=value` into three words."""
    words, at = os.environ.get("COMP_WORDS", "").split("\n"), os.environ.get("COMP_CWORD", "")
    if not at.isdecimal() or int(at) >= len(words):
        return None
    before = words[: int(at)]
    if words[int(at)] == "=" and before:
        return before[-1]
    return before[-2] if len(before) > 1 and before[-1] == "=" else None


def _after_last_comma(incomplete: str, candidates: Iterable[str]) -> list[str]:
    head = incomplete[: incomplete.rfind(",") + 1]
    return [f"{head}{item}" for item in candidates]


def _keys(variant: str) -> list[str]:
    """Everything that can be changed of a variant, groups and aliases first."""
    from aqr_exp.config.compose import COMPUTED_KEYS, group_options
    from aqr_exp.config.convert import dotted_keys
    from aqr_exp.config.schema import RunConfig
    from aqr_exp.config.short_names import keys_set_by, short_names
    from aqr_exp.config.variant_spec import lacks_group, lacks_part, part_of, variant_named

    def belongs(key: str) -> bool:
        return lacks_part(variant, part_of(key)) is None

    variant_named(variant)
    groups = [name for name in group_options() if name != "variant"]
    typed = [name for name in groups if lacks_group(variant, name) is None]
    typed += [name for name in short_names() if belongs(keys_set_by(name)[0])]
    typed += [key for key in dotted_keys(RunConfig) if key not in COMPUTED_KEYS and belongs(key)]
    return list(dict.fromkeys(typed))


def _values(key: str) -> list[str]:
    """The values of a group, a choice or a switch; none of other keys."""
    from aqr_exp.config.compose import group_options
    from aqr_exp.config.convert import choices, dotted_keys
    from aqr_exp.config.schema import RunConfig
    from aqr_exp.config.short_names import keys_set_by

    if key in group_options():
        return list(group_options()[key])
    spec = dotted_keys(RunConfig).get(keys_set_by(key)[0])
    if spec is None:
        return []
    values = ["true", "false"] if spec.type is bool else [*choices(spec.type), *spec.words]
    return [*values, "null"] if values and spec.optional else values


def _with_default(key: str, variant: str) -> list[str]:
    """`key=`, and with the value that a variant has without overrides."""
    from aqr_exp.config.identity import as_dict
    from aqr_exp.config.load import load_run
    from aqr_exp.config.short_names import keys_set_by, value_at

    if variant not in variants():
        return [f"{key}="]
    value = value_at(as_dict(load_run(variant, [])), keys_set_by(key)[0])
    shown = isinstance(value, (int, float, str)) and value != ""
    return [f"{key}=", *([f"{key}={value}"] if shown else [])]
