"""Runs sorted into arms: seeds are replicates of one, and what is left out is named."""

from collections.abc import Sequence
from statistics import fmean

from aqr_exp.errors import RequestError
from aqr_exp.files.suggest import did_you_mean
from aqr_exp.report.tables.cells import printable
from aqr_exp.store.collect import MEAN_METRICS, RunRow
from aqr_exp.store.counting import by_seed, shown_run

SYNTHETIC_MARK = "SYNTHETIC data, not comparable with nuScenes"

Group = list[RunRow]


def group_seeds(rows: Sequence[RunRow]) -> tuple[list[Group], list[str]]:
    """Sort runs into arms; every run that is left out is named.

    Args:
        rows: All runs.

    Returns:
        Completed runs by (variant, fingerprint, data), baseline first, one a seed; and one line
        for each run that is not among them, its name first.
    """
    left_out = [why_left_out(row) for row in rows if not row.completed]
    groups: dict[tuple[str, str, str], Group] = {}
    for reruns in by_seed(row for row in rows if row.completed).values():
        counting = shown_run(reruns)
        groups.setdefault((counting.variant, counting.fingerprint, counting.data), []).append(
            counting
        )
        left_out += [
            f"{row.name}: the same seed was run again as {counting.name}"
            for row in reruns
            if row is not counting
        ]
    order = sorted(groups, key=lambda key: (key[0] != "baseline", *key))
    return [sorted(groups[key], key=lambda row: row.name) for key in order], sorted(left_out)


def why_left_out(row: RunRow) -> str:
    """A run without metrics of record in one line: its name, how it stands and why."""
    reason = printable(" ".join((row.reason or "no metrics yet").split()))
    return f"{row.name}: {row.status}: {reason}"


def by_setting(groups: Sequence[Group]) -> list[Group]:
    """Arms that can be compared stand together, each baseline before what it is compared with."""
    rank: dict[tuple[str, str | None], int] = {}
    for group in groups:
        rank.setdefault((group[0].data, group[0].setting), len(rank))
    return sorted(groups, key=lambda group: rank[group[0].data, group[0].setting])


def arm_name(group: Group) -> str:
    """An arm in words: its variant and the beginning of its identity."""
    return f"{group[0].variant} {group[0].fingerprint}"


def mean_over_seeds(group: Group, name: str) -> float | None:
    """The mean of a number of `metrics.json` over the seeds that have it; None when none has."""
    values = [value for row in group if (value := row.metric(name)) is not None]
    return fmean(values) if values else None


def common_words(groups: Sequence[Group]) -> list[str]:
    """What was typed for every arm, which tells none apart."""
    first, *others = [group[0].overrides.split() for group in groups] or [[]]
    return [word for word in first if all(word in words for words in others)]


def titled(title: str, groups: Sequence[Group]) -> tuple[str, bool]:
    """A title that says when anything below it is synthetic, and whether it is."""
    synthetic = any(row.synthetic for group in groups for row in group)
    return (f"{title} ({SYNTHETIC_MARK})" if synthetic else title), synthetic


def classes_of(groups: Sequence[Group]) -> list[str]:
    """Class names in the order the metrics hold them."""
    names = [
        name.removeprefix("AP/")
        for group in groups
        for row in group
        for name in row.metrics
        if name.startswith("AP/")
    ]
    return list(dict.fromkeys(names))


def check_metric_names(names: Sequence[str], rows: Sequence[RunRow]) -> None:
    """Refuse metric names no run has.

    Args:
        names: What was asked for.
        rows: All runs.

    Raises:
        RequestError: Names each unknown metric with its nearest match.
    """
    known = dict.fromkeys(MEAN_METRICS)
    if known.keys() >= set(names):
        return
    for row in rows:
        known |= {name: None for name in row.metrics if row.metric(name) is not None}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise RequestError(
            "\n".join(
                f"unknown metric '{name}'{did_you_mean(name, list(known))} "
                f"(available: {', '.join(known)})"
                for name in unknown
            )
        )
