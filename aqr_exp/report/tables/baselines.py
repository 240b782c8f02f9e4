"""The baseline of each arm, what confounds the comparison, and relative training times."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from aqr_exp.config import BASELINE
from aqr_exp.config.convert import dotted_keys, fields_of
from aqr_exp.config.identity import differing_circumstances
from aqr_exp.config.schema import RunConfig
from aqr_exp.config.short_names import keys_set_by
from aqr_exp.errors import AqrExpError, RequestError
from aqr_exp.files.suggest import did_you_mean
from aqr_exp.statistics.confounders import (
    Confounder,
    all_confounders,
    configuration_confounders,
    record_confounders,
)
from aqr_exp.statistics.grouping import Group, arm_name
from aqr_exp.statistics.metrics import TRAIN_TIME
from aqr_exp.store.collect import RunRow
from aqr_exp.store.store import Store

Spec = Mapping[str, Any]


class Specs:
    """The specifications of a store's runs, each read once."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._read: dict[tuple[str, ...], Spec | None] = {}

    def of_run(self, row: RunRow) -> Spec | None:
        """A run's own; None when it is missing or damaged."""
        return self._once((row.name,), row)

    def of_arm(self, row: RunRow) -> Spec | None:
        """The spec of the run, or of any run with its identity: they agree on everything that counts."""
        return self._once((row.variant, row.fingerprint), row)

    def _once(self, key: tuple[str, ...], row: RunRow) -> Spec | None:
        if key not in self._read:
            try:
                self._read[key] = self.store.folder(row.name).read_spec()
            except AqrExpError:
                self._read[key] = None
        return self._read[key]


def shared_by_an_arm(names: Sequence[str]) -> bool:
    """Whether runs of one identity agree on all these keys, so that reading one of them is enough."""
    excluded = {name for name, spec in fields_of(RunConfig).items() if spec.excluded}
    excluded |= {
        key
        for key, spec in dotted_keys(RunConfig).items()
        if spec.excluded or key.partition(".")[0] in excluded
    }
    return not any(key in excluded for name in names for key in keys_set_by(name))


# Reading a specification takes milliseconds: for so many arms the differences are looked up.
MOST_EXPLAINED = 20
SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class BaselineMatch:
    """The baseline that an arm is compared with.

    Attributes:
        group: The other arm's runs; None when there is none, or the arm is a baseline itself.
        found: What differs besides the declared factor.
        reason: Why there is none; None for a baseline.
        undeclared: Whether the arm is none of those that its sweep declared.
    """

    group: Group | None = None
    found: tuple[Confounder, ...] = ()
    reason: str | None = None
    undeclared: bool = False

    @property
    def confounders(self) -> tuple[Confounder, ...]:
        """What of it may be behind a difference."""
        return tuple(item for item in self.found if not item.tested)

    @property
    def tested(self) -> tuple[Confounder, ...]:
        """What of it is known to change no bit."""
        return tuple(item for item in self.found if item.tested)


@dataclass(frozen=True, kw_only=True)
class RelativeTime:
    """An arm's training time over the baseline's.

    Attributes:
        ratio: Mean over mean; None where they cannot be compared.
        reason: Why they cannot, or which runs were left out; None when there is no remark.
    """

    ratio: float | None = None
    reason: str | None = None


def relative_time(arm: Group, match: BaselineMatch) -> RelativeTime:
    """Compare training times; a baseline, of which nothing else may be known, is its own measure."""
    baseline = match.group or (arm if match.reason is None else None)
    if not baseline:
        return RelativeTime(reason="no baseline with the same model, data and schedule")
    ours, theirs = _timed(arm), _timed(baseline)
    for runs, whose in ((ours, "its"), (theirs, "the baseline's")):
        if not runs:
            return RelativeTime(reason=f"none of {whose} runs was timed in one go")
    # Every run against one: what differs within an arm spoils its mean just as well.
    first = theirs[0]
    for row in (*ours, *theirs):
        differing = differing_circumstances(row.hardware, first.hardware)
        if differing:
            reason = f"{row.name} and {first.name} ran with {', '.join(differing)}"
            return RelativeTime(reason=reason)
    ratio = fmean(_seconds(row) for row in ours) / fmean(_seconds(row) for row in theirs)
    left_out = len(arm) - len(ours)
    words = f"{left_out} of {len(arm)} runs were not timed in one go and are left out"
    return RelativeTime(ratio=ratio, reason=words if left_out else None)


def _timed(rows: Sequence[RunRow]) -> list[RunRow]:
    """Runs whose time is that of the whole training: a resumed run's is that of its last attempt."""
    return [row for row in rows if row.attempt == 1 and _seconds(row) > 0]


def _seconds(row: RunRow) -> float:
    return row.metric(TRAIN_TIME) or 0.0


class Baselines:
    """Finds each arm's baseline.

    Args:
        declared: The declared factors, as `check_factors` gives them.
        chosen: The one arm that all others are compared with; None takes each arm's own baseline.
    """

    def __init__(
        self,
        groups: Sequence[Group],
        specs: Specs,
        declared: Collection[str],
        chosen: Group | None = None,
    ) -> None:
        self._specs = specs
        self._declared = declared
        self._same_code = specs.store.same_code()
        self._chosen = chosen
        self._all = [group for group in groups if group[0].variant == BASELINE]
        self._by_setting: dict[tuple[str, str | None], Group] = {
            (group[0].data, group[0].setting): group
            for group in self._all
            if group[0].setting is not None
        }
        self._explained = 0

    def of(self, group: Group) -> BaselineMatch:
        """An arm's match."""
        if self._chosen is not None:
            return BaselineMatch() if group is self._chosen else self._against(group, self._chosen)
        if group[0].variant == BASELINE:
            return BaselineMatch()
        same = self._by_setting.get((group[0].data, group[0].setting))
        if same is not None:
            found = record_confounders(group, same, self._declared, self._same_code)
            return BaselineMatch(group=same, found=tuple(found))
        return self._nearest(group)

    def _against(self, group: Group, other: Group) -> BaselineMatch:
        """A requested comparison, with all that confounds it."""
        if group[0].data != other[0].data:
            return BaselineMatch(reason=f"scored on {group[0].data}, not on {other[0].data}")
        specs = None
        if group[0].setting is None or group[0].setting != other[0].setting:
            specs = self._both_specs(group, other)
        found = all_confounders(group, other, specs, self._declared, self._same_code)
        return BaselineMatch(group=other, found=found)

    def _nearest(self, group: Group) -> BaselineMatch:
        """A baseline that differs in declared factors alone; or what separates the nearest one."""
        none = "no baseline with the same model, data and schedule"
        candidates = [other for other in self._all if other[0].data == group[0].data]
        factors_declared = len(self._declared) > 1
        if not candidates or (self._explained >= MOST_EXPLAINED and not factors_declared):
            return BaselineMatch(reason=none)
        self._explained += 1
        separated: list[tuple[list[Confounder], Group]] = []
        for other in candidates if factors_declared else candidates[:MOST_EXPLAINED]:
            specs = self._both_specs(group, other)
            if specs is not None:
                separated.append((configuration_confounders(*specs, self._declared), other))
        if not separated:
            return BaselineMatch(reason=f"{none}: a spec.yaml cannot be read")
        found, other = min(separated, key=lambda item: len(item[0]))
        if not found and factors_declared:
            records = record_confounders(group, other, self._declared, self._same_code)
            return BaselineMatch(group=other, found=tuple(records))
        shown = ", ".join(item.name for item in found[:SHOWN])
        more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        nearest = f": {arm_name(other)} differs in {shown}{more}" if found else ""
        return BaselineMatch(reason=none + nearest)

    def _both_specs(self, group: Group, other: Group) -> tuple[Spec, Spec] | None:
        ours, theirs = self._specs.of_arm(group[0]), self._specs.of_arm(other[0])
        return None if ours is None or theirs is None else (ours, theirs)


def chosen_arm(groups: Sequence[Group], asked: str) -> Group:
    """The arm of `--baseline`.

    Raises:
        RequestError: None or several are called so.
    """
    found = [group for group in groups if asked in _names(group)] or [
        group for group in groups if any(name.startswith(asked) for name in _names(group))
    ]
    if len(found) == 1:
        return found[0]
    if found:
        several = ", ".join(arm_name(group) for group in found[:5])
        raise RequestError(f"--baseline {asked!r} names {len(found)} arms: {several}")
    known = {name for group in groups for name in _names(group)}
    raise RequestError(
        f"--baseline {asked!r}: no such arm in the table{did_you_mean(asked, known)}"
    )


def _names(group: Group) -> tuple[str, ...]:
    row = group[0]
    whole = f"{row.variant}-{row.fingerprint}"
    return (row.fingerprint, row.variant, whole, *(each.name for each in group))
