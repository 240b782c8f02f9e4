"""Runs sorted into arms: seeds are replicates of one arm, and every run that is left out is named."""

from collections.abc import Iterable, Sequence
from statistics import fmean

from aqr_exp.config import BASELINE
from aqr_exp.errors import RequestError, shown
from aqr_exp.files.run_name import arm_of
from aqr_exp.files.suggest import did_you_mean, some
from aqr_exp.files.text import printable
from aqr_exp.statistics.metrics import CLASS_AP
from aqr_exp.store.collect import MEAN_METRICS, UNVERIFIED, RunRow
from aqr_exp.store.counting import by_seed, counting_runs, shown_run

Group = list[RunRow]
"""The counting runs of one arm, one a seed."""


def group_seeds(rows: Sequence[RunRow]) -> tuple[list[Group], list[str]]:
    """Sort runs into arms; every run that is left out is named."""
    left_out = [why_left_out(row) for row in rows if not row.completed]
    groups: dict[tuple[str, str, str], Group] = {}
    for reruns in by_seed(row for row in rows if row.completed).values():
        counting = shown_run(reruns)
        key = counting.variant, counting.fingerprint, counting.data
        groups.setdefault(key, []).append(counting)
        left_out += [
            f"{row.name}: the same seed was run again as {counting.name}"
            for row in reruns
            if row is not counting
        ]
    order = sorted(groups, key=lambda key: (key[0] != BASELINE, *key))
    return [sorted(groups[key], key=lambda row: row.name) for key in order], sorted(left_out)


def further_arms(groups: Iterable[Group], compared: Sequence[Group]) -> list[Group]:
    """The arms of the same setting and data as those that are compared, besides them."""
    first, ours = compared[0][0], {row.name for group in compared for row in group}
    return [
        group
        for group in groups
        if group[0].name not in ours
        and first.setting is not None
        and (group[0].data, group[0].setting) == (first.data, first.setting)
    ]


def replicates(rows: Sequence[RunRow]) -> list[RunRow]:
    """The runs that count of one arm, by seed; first those without a recorded seed."""
    return sorted(
        counting_runs(rows), key=lambda row: (row.seed is not None, row.seed or 0, row.name)
    )


def why_left_out(row: RunRow) -> str:
    """A run without metrics of record in one line: its name, its status and why."""
    reason = printable(" ".join((row.reason or "no metrics yet").split()))
    return f"{row.name}: {row.status}: {reason}"


def data_words(arm: Sequence[RunRow]) -> str:
    """The data that an arm's runs were scored on, marked when one of them is unverified."""
    return arm[0].data + (f", {UNVERIFIED}" if unverified_notes(arm) else "")


def variant_words(row: RunRow, rows: Iterable[RunRow]) -> str:
    """A run's variant, with the edition of its idea where the runs are of several."""
    several = any(one.variant == row.variant and one.edition != row.edition for one in rows)
    return f"{row.variant} (edition {row.edition})" if several else row.variant


MOST_NAMES = 3


def unverified_notes(rows: Iterable[RunRow], *, strict: bool = False) -> list[str]:
    """A line that names the runs whose numbers may be of another run; none without any.

    Raises:
        RequestError: There are such runs, and strict.
    """
    names = sorted({row.name for row in rows if row.metrics and not row.verified})
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    what = f"{', '.join(names[:MOST_NAMES])}{more} (of an older version: files that name no run)"
    if names and strict:
        raise RequestError(f"--strict: {UNVERIFIED}: {what}")
    return [f"{UNVERIFIED}: {what}"] if names else []


def origin_notes(rows: Iterable[RunRow], *, strict: bool = False) -> list[str]:
    """Lines on runs that are unverified, and on runs that were imported; none without any.

    Raises:
        RequestError: As `unverified_notes` does.
    """
    rows = list(rows)
    arms = sorted({arm_of(row.name) for row in rows if row.imported})
    words = f"imported: {some(arms)}: how they were trained is not known"
    return [*unverified_notes(rows, strict=strict), *([words] if arms else [])]


def by_setting(groups: Sequence[Group]) -> list[Group]:
    """Arms that can be compared side by side, each baseline before what it is compared with."""
    rank: dict[tuple[str, str | None], int] = {}
    for group in groups:
        rank.setdefault((group[0].data, group[0].setting), len(rank))
    return sorted(groups, key=lambda group: rank[group[0].data, group[0].setting])


def arm_name(group: Group) -> str:
    """An arm's variant and the beginning of its identity."""
    return f"{group[0].variant} {group[0].fingerprint}"


def mean_over_seeds(group: Group, name: str) -> float | None:
    """The mean of a number of `metrics.json` over the seeds that have it; None when none has."""
    values = [value for row in group if (value := row.metric(name)) is not None]
    return fmean(values) if values else None


def classes_of(groups: Sequence[Group]) -> list[str]:
    """Class names in the order the metrics hold them."""
    names = dict.fromkeys(name for group in groups for row in group for name in row.metrics)
    return [name.removeprefix(CLASS_AP) for name in names if name.startswith(CLASS_AP)]


def check_metric_names(
    names: Sequence[str], rows: Sequence[RunRow], also: Iterable[str] = ()
) -> None:
    """Refuse metric names that no run has.

    Args:
        names: As they are typed, maybe with an @ and a condition.
        also: Further names that may have been meant.

    Raises:
        RequestError: Names each unknown metric with its nearest match.
    """
    known = dict.fromkeys(MEAN_METRICS)
    metric_of = {name: name.partition("@")[0] for name in names}
    if known.keys() >= set(metric_of.values()):
        return
    for row in rows:
        known |= {name: None for name in row.metrics if row.metric(name) is not None}
    meant = [*known, *also]
    unknown = [
        f"unknown metric {shown(name)}{did_you_mean(metric, meant)} (available: {some(known)})"
        for name, metric in metric_of.items()
        if metric not in known
    ]
    if unknown:
        raise RequestError(*unknown)
