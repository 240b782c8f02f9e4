"""Confounders: differences between two arms besides the declared factor."""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aqr_exp.config import SOURCES
from aqr_exp.config.convert import dotted_keys
from aqr_exp.config.identity import IdentityEffect, differences, short_hash
from aqr_exp.config.schema import RunConfig
from aqr_exp.config.short_names import keys_set_by, short_names
from aqr_exp.errors import RequestError
from aqr_exp.files.suggest import did_you_mean
from aqr_exp.store.collect import RunRow

VARIANT = "variant"
"""The factor every comparison of arms declares."""

DATA, CODE, PYTHON, PACKAGES, SETTING = "data", "code", "python", "packages", "setting"
TRAINING = "training"
# Sums in another order differ in the last bit, and training makes that grow.
CIRCUMSTANCES = ("threads", "device", "gpus", "gpus_per_run", "processor")
NO_KEYS = (CODE, PYTHON, PACKAGES, TRAINING, *CIRCUMSTANCES)
"""Factors that are no keys of a configuration, and may be declared as well."""

UNKNOWN = "unknown"
LONGEST = 40
MOST_FILES = 3


@dataclass(frozen=True, kw_only=True)
class Confounder:
    """Something besides the declared factor that may be behind a difference.

    Attributes:
        name: A dotted key, or what else differs, such as `torch` or `code aqr_exp/cmt/head.py`.
        ours: Its value; empty where the name says it all.
        tested: It is known to change no bit: no confounder any more.
        theirs: Its value in the arm that ours is compared with.
        pairs: In how many of the pairs of runs (of the same seed, where they share seeds) it differs.
    """

    name: str
    ours: str = ""
    theirs: str = ""
    pairs: int = 1
    of: int = 1
    tested: bool = False

    @property
    def where(self) -> str:
        """In which share of the pairs it differs, in brackets; empty for all."""
        return "" if self.pairs == self.of else f" ({self.pairs} of {self.of} pairs of runs)"

    def __str__(self) -> str:
        """In words, such as `code 1b6f1948c64d and 5446b2b9a1c0 (2 of 3 pairs of runs)`."""
        values = f" {self.ours} and {self.theirs}" if self.ours else ""
        return f"{self.name}{values}{': same bits (tested)' * self.tested}{self.where}"


def check_factors(factors: Sequence[str]) -> tuple[str, ...]:
    """Spell declared factors out.

    Args:
        factors: Dotted keys, groups of them (`schedule`), short names, or one of `NO_KEYS`.

    Raises:
        RequestError: Names each unknown factor with its nearest match.
    """
    keys = dotted_keys(RunConfig)
    groups = {key[:at] for key in keys for at, mark in enumerate(key) if mark == "."}
    known = {*keys, *groups, *short_names(), *NO_KEYS}
    allowed = f"a key, a group of keys, or {', '.join(NO_KEYS)}"
    unknown = [
        f"unknown factor '{name}'{did_you_mean(name, known)} (allowed: {allowed})"
        for name in factors
        if name not in known
    ]
    if unknown:
        raise RequestError(*unknown)
    spelled = [key for name in factors for key in keys_set_by(name)]
    return tuple(dict.fromkeys([VARIANT, *spelled]))


def configuration_confounders(
    ours: Mapping[str, Any], theirs: Mapping[str, Any], declared: Collection[str]
) -> list[Confounder]:
    """Keys outside the declared factors in which two configurations differ."""
    within = tuple(f"{name}." for name in (*declared, SOURCES))  # of the variant
    return [
        Confounder(name=item.key, ours=_words(item.ours), theirs=_words(item.theirs))
        for item in differences(ours, theirs)
        if item.effect is IdentityEffect.CHANGES and not f"{item.key}.".startswith(within)
    ]


def record_confounders(
    arm: Sequence[RunRow],
    other: Sequence[RunRow],
    declared: Collection[str],
    same_code: Collection[str] = (),
) -> list[Confounder]:
    """Differences in the records of two arms' runs, in the order found: data, environment, hardware, code.

    Runs of the same seed are compared; where two arms share no seed, every run with every other.

    Args:
        same_code: As `Store.same_code` gives it.
    """
    pairs = _pairs(arm, other)
    counts = Counter[str]()
    first: dict[str, tuple[str, str]] = {}
    changed: dict[bool, list[list[str]]] = {False: [], True: []}
    for ours, theirs in pairs:
        if _alike(ours, theirs):
            continue
        one, two = recorded_facts(ours), recorded_facts(theirs)
        if ours.imported or theirs.imported:
            one, two = _facts_beside_imported(ours, one), _facts_beside_imported(theirs, two)
        elif ours.modules and theirs.modules:
            del one[CODE], two[CODE]
            if names := changed_modules(ours.modules, theirs.modules):
                changed[bool(same_code) and code_pair(ours, theirs) in same_code].append(names)
        for name in dict.fromkeys([*one, *two]):
            values = one.get(name, UNKNOWN), two.get(name, UNKNOWN)
            if values[0] != values[1] and not _is_fact_declared(name, one, two, declared):
                counts[name] += 1
                first.setdefault(name, values)
    found = [
        Confounder(name=name, ours=ours, theirs=theirs, pairs=counts[name], of=len(pairs))
        for name, (ours, theirs) in first.items()
    ]
    for tested, each in changed.items():
        if each and CODE not in declared:
            name = f"{CODE} {some_files(name for names in each for name in names)}"
            found.append(Confounder(name=name, pairs=len(each), of=len(pairs), tested=tested))
    return found


def code_pair(ours: RunRow, theirs: RunRow) -> str:
    """A name for two arms and the modules that differ between their runs, in either order."""
    sides = sorted(
        (
            [row.variant, row.fingerprint],
            [[name, row.modules[name]] for name in changed_modules(ours.modules, theirs.modules)],
        )
        for row in (ours, theirs)
    )
    return short_hash(json.dumps(sides))


def changed_modules(ours: Mapping[str, str], theirs: Mapping[str, str]) -> list[str]:
    """The modules of the package that two runs both loaded, and that were not the same.

    What only one of them loads is its own variant's.
    """
    return sorted(name for name in ours.keys() & theirs.keys() if ours[name] != theirs[name])


def some_files(names: Iterable[str]) -> str:
    """A few of some files, and how many more there are."""
    different = sorted(set(names))
    more = f" and {len(different) - MOST_FILES} more" if len(different) > MOST_FILES else ""
    return ", ".join(different[:MOST_FILES]) + more


def all_confounders(
    arm: Sequence[RunRow],
    other: Sequence[RunRow],
    specs: tuple[Mapping[str, Any], Mapping[str, Any]] | None,
    declared: Collection[str],
    same_code: Collection[str] = (),
) -> tuple[Confounder, ...]:
    """Differences in the configurations and in the records; a data set that both name is listed once.

    Args:
        specs: The configurations of both; None where they are known to agree, or cannot be read.
    """
    found = configuration_confounders(*specs, declared) if specs else []
    names = {item.name for item in found}
    records = record_confounders(arm, other, declared, same_code)
    return (*found, *(item for item in records if f"{item.name}.fingerprint" not in names))


def _pairs(arm: Sequence[RunRow], other: Sequence[RunRow]) -> list[tuple[RunRow, RunRow]]:
    by_seed = {row.seed: row for row in other if row.seed is not None}
    shared = [(row, by_seed[row.seed]) for row in arm if row.seed in by_seed]
    return shared or [(ours, theirs) for ours in arm for theirs in other]


def _alike(ours: RunRow, theirs: RunRow) -> bool:
    """Whether two records are the same in all that could differ: the usual case, and a quick one."""
    one, two = ours.record, theirs.record
    return all(
        one.get(name) == two.get(name)
        for name in ("data", "code", "versions", "python", "hardware")
    )


def recorded_facts(row: RunRow) -> dict[str, str]:
    """The recorded facts that a run's numbers may depend on, by name."""
    record, hardware = row.record, row.hardware
    data, versions = (
        value if isinstance(value := record.get(name), Mapping) else {}
        for name in ("data", "versions")
    )
    facts = {DATA: data["fingerprint"]} if "fingerprint" in data else {}
    facts |= {CODE: code_words(record["code"])} if "code" in record else {}
    facts |= {PYTHON: record["python"]} if "python" in record else {}
    facts |= versions
    facts |= {name: hardware[name] for name in CIRCUMSTANCES if name in hardware}
    return {name: _words(value) for name, value in facts.items()}


def _facts_beside_imported(row: RunRow, facts: Mapping[str, str]) -> dict[str, str]:
    """The facts that can be compared with a run whose training nothing is known of: data, and that."""
    data = {DATA: facts[DATA]} if facts.get(DATA) else {}
    return data | {TRAINING: "unknown (imported)" if row.imported else "recorded"}


def code_words(code: Any) -> str:
    """A code revision in words: its beginning, and that of what it was changed by."""
    if not isinstance(code, Mapping) or not code.get("revision"):
        return "installed"
    revision = str(code.get("revision"))[:12]
    if not code.get("dirty"):
        return revision
    return f"{revision}+{str(code.get('difference_sha256'))[:8]}"


def _is_fact_declared(
    name: str, ours: Mapping[str, str], theirs: Mapping[str, str], declared: Collection[str]
) -> bool:
    if name in declared:
        return True
    # With the data declared, their content may differ; all other names are packages.
    known = {DATA, CODE, PYTHON, TRAINING, *CIRCUMSTANCES}
    if name == DATA:
        return "data.fingerprint" in declared
    return PACKAGES in declared and name not in known and (name in ours or name in theirs)


def _words(value: Any) -> str:
    if isinstance(value, Mapping):  # a description of data by its classes
        value = value.get("classes", value)
    if isinstance(value, list):
        value = [each.get("name", each) if isinstance(each, Mapping) else each for each in value]
    if isinstance(value, (list, tuple)):
        value = ", ".join(map(str, value)) or "none"
    text = str(value)
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."
