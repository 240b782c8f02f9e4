"""Names of arms, and the arms and runs that a typed name means."""

from collections import Counter
from collections.abc import Sequence

from aqr_exp.errors import RequestError, cut
from aqr_exp.files.run_name import first_of
from aqr_exp.files.suggest import did_you_mean
from aqr_exp.statistics.grouping import Group, group_seeds, variant_words, why_left_out
from aqr_exp.store.collect import RunRow, with_settings
from aqr_exp.store.counting import grouped
from aqr_exp.store.store import Store

# How a run is executed tells no arm from another.
_CIRCUMSTANCE = ("launcher.", "launcher=")


def arm_labels(arms: Sequence[RunRow]) -> list[str]:
    """The shortest name for each arm: its variant, with what was typed for it where it needs that."""
    typed = [
        [word for word in row.overrides.split() if not word.startswith(_CIRCUMSTANCE)]
        for row in arms
    ]
    shared = set.intersection(*map(set, typed)) if len(typed) > 1 else set()
    variants = Counter(row.variant for row in arms)
    labels = [
        " ".join([variant_words(row, arms), *(word for word in words if word not in shared)])
        if variants[row.variant] > 1
        else row.variant
        for row, words in zip(arms, typed, strict=True)
    ]
    labels = [cut(label, MOST_LETTERS) for label in labels]
    seen = Counter(labels)
    return [
        f"{label} {row.fingerprint}" if seen[label] > 1 else label
        for label, row in zip(labels, arms, strict=True)
    ]


def short_labels(arms: Sequence[RunRow]) -> list[str]:
    """As `arm_labels`, without what all arms of a variant share though those of others lack it."""
    by_variant = grouped(range(len(arms)), lambda at: arms[at].variant)
    found = {
        at: label
        for places in by_variant.values()
        for at, label in zip(places, arm_labels([arms[at] for at in places]), strict=True)
    }
    return [found[at] for at in range(len(arms))]


MOST_NAMED = 3
MOST_LETTERS = 150


def selected(rows: Sequence[RunRow], names: Sequence[str], *, store: Store) -> list[RunRow]:
    """The runs of sweeps, and those that are named or whose names begin with what was typed; else all.

    Raises:
        RequestError: A name is no sweep and begins no run's name; tells the nearest.
        AqrExpError: A sweep's plan is damaged.
    """
    if not names:
        return list(rows)
    sweeps = set(store.sweep_names())
    chosen: set[str] = set()
    for name in names:
        if name in sweeps:
            planned = {entry.name for entry in store.sweep(name).read_plan()}
            found = {row.name for row in rows if {row.name, first_of(row.name)} & planned}
        else:
            # `-s1` begins `-s10`, too.
            found = {name} & {row.name for row in rows}
            found = found or {row.name for row in rows if name and row.name.startswith(name)}
            if not found:
                known = [*sweeps, *beginnings(rows)]
                raise RequestError(
                    f"no sweep and no run begins with '{name}'{did_you_mean(name, known)}"
                    " (see `aqr-exp list`)"
                )
        chosen |= found
    return [row for row in rows if row.name in chosen]


def beginnings(rows: Sequence[RunRow]) -> list[str]:
    """The names that could have been meant: runs, arms and variants."""
    arms = dict.fromkeys(f"{row.variant}-{row.fingerprint}" for row in rows)
    return [*dict.fromkeys(row.variant for row in rows), *arms, *(row.name for row in rows)]


def one_arm(rows: Sequence[RunRow], name: str) -> tuple[Group, list[str]]:
    """The completed runs of the one arm, or the one run, that a name stands for.

    Returns:
        Its runs, one a seed, only the run itself where its whole name was typed; and a line for each run
        that is meant by the name and is not among them, such as one whose files are damaged.

    Raises:
        RequestError: No completed run, or several arms, begin so; names them.
    """
    exact = [row for row in rows if row.name == name]
    matching = exact or [row for row in rows if name and row.name.startswith(name)]
    if not matching:
        known = beginnings(rows)
        raise RequestError(
            f"no run begins with '{name}'{did_you_mean(name, known)} (see `aqr-exp list`)"
        )
    groups, left_out = group_seeds(matching)
    if not groups:
        states = "; ".join(map(why_left_out, matching[:MOST_NAMED]))
        unnamed = len(matching) - MOST_NAMED
        rest = f"; and {unnamed} more (see `aqr-exp list`)" if unnamed > 0 else ""
        raise RequestError(f"'{name}' has no completed run: {states}{rest}")
    if len(groups) > 1:
        arms = ", ".join(f"{group[0].variant}-{group[0].fingerprint}" for group in groups[:5])
        more = ", ..." if len(groups) > 5 else ""
        raise RequestError(f"'{name}' begins the names of {len(groups)} arms: {arms}{more}")
    return groups[0], [f"not compared: {line}" for line in left_out]


def same_setting(store: Store, rows: Sequence[RunRow], arms: Sequence[Group]) -> list[Group]:
    """The other arms with the setting and the data of the first one; none where that is unknown."""
    ours, *_ = with_settings(store, arms[0][:1])
    alike = [row for row in rows if row.completed and row.data == ours.data]
    groups, _ = group_seeds(with_settings(store, alike) if ours.setting else [])
    compared = {row.name for arm in arms for row in arm}
    same = [group for group in groups if group[0].setting == ours.setting]
    others = [[row for row in group if row.name not in compared] for group in same]
    return [group for group in others if group]
