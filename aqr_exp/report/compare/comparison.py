"""Two arms compared: configuration, metrics, classes, conditions and scenes."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from aqr_exp.config.identity import Difference, IdentityEffect, differences
from aqr_exp.data.classes import CLASS_NAMES
from aqr_exp.errors import RequestError
from aqr_exp.evaluate.conditions import CONDITIONS, DataCondition
from aqr_exp.evaluate.protocol import ERROR_NAMES
from aqr_exp.files.progress import NamedProgress, no_progress
from aqr_exp.report.compare.scenes import SceneChanges, scene_changes
from aqr_exp.statistics.confounders import (
    Confounder,
    all_confounders,
    check_factors,
)
from aqr_exp.statistics.differences import DEFAULT, arm_intervals, compare_arms
from aqr_exp.statistics.estimates import ArmMean
from aqr_exp.statistics.metrics import CLASS_AP, MAIN_METRICS
from aqr_exp.statistics.resampling import Resampling
from aqr_exp.statistics.run_scores import GroundTruths, prepare
from aqr_exp.statistics.verdicts import DifferenceResult, decide
from aqr_exp.store.collect import RunRow
from aqr_exp.store.store import Store

METRIC, CLASS, CONDITION, SCENE = "metric", "class", "condition", "scene"
PARTS = (METRIC, CLASS, CONDITION, SCENE)


@dataclass(frozen=True, kw_only=True)
class Request:
    """A comparison that is wanted.

    Attributes:
        metrics: Metric names.
        errors: Whether the five true-positive errors are compared as well.
        parts: Of `PARTS`.
        factors: What the arms may differ in besides their variant.
        strict: Whether a confounded comparison is refused.
        settings: How intervals are made.
    """

    metrics: tuple[str, ...] = MAIN_METRICS
    errors: bool = True
    parts: tuple[str, ...] = PARTS
    factors: tuple[str, ...] = ()
    strict: bool = False
    settings: Resampling = DEFAULT


EVERYTHING = Request()


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One metric of two arms.

    Attributes:
        metric: Its name.
        condition: The part of the data; None for all of it.
        truths: Ground truths it rests on; None when unknown.
        reference: The reference arm's mean.
        other: The other arm's.
        result: The difference and its verdict.
    """

    metric: str
    condition: str | None
    truths: int | None
    reference: ArmMean
    other: ArmMean
    result: DifferenceResult


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The comparison of two arms.

    Attributes:
        reference: Runs of the reference arm that are compared.
        other: Those of the other arm; differences are other minus reference.
        configuration: Keys that can change the numbers and differ.
        confounders: What differs besides the declared factors.
        metrics: By metric, each block corrected for its number of comparisons.
        errors: The true-positive errors.
        classes: AP by class.
        conditions: The first metric by condition.
        scenes: Scenes by how much they changed.
        notes: Which runs were left out, and why.
    """

    reference: tuple[RunRow, ...]
    other: tuple[RunRow, ...]
    configuration: tuple[Difference, ...]
    confounders: tuple[Confounder, ...] = ()
    metrics: tuple[Compared, ...] = ()
    errors: tuple[Compared, ...] = ()
    classes: tuple[Compared, ...] = ()
    conditions: tuple[Compared, ...] = ()
    scenes: SceneChanges = field(default_factory=SceneChanges)
    notes: tuple[str, ...] = ()

    @property
    def rows(self) -> tuple[RunRow, ...]:
        """The runs of both arms."""
        return (*self.reference, *self.other)


def compare_two(
    reference: Sequence[RunRow],
    other: Sequence[RunRow],
    *,
    store: Store,
    request: Request = EVERYTHING,
    left_out: Sequence[str] = (),
    progress: NamedProgress = no_progress,
) -> Comparison:
    """Compare two arms, or two runs.

    Args:
        left_out: Lines on runs of the two that are not among them.
        progress: Called with (what, done, total).

    Raises:
        RequestError: A factor is unknown; or, when strict, the comparison is confounded.
        AqrExpError: A configuration is damaged; names the file.
    """
    declared = check_factors(request.factors)
    specs = [store.folder(arm[0].name).read_spec() for arm in (reference, other)]
    confounders = all_confounders(other, reference, (specs[1], specs[0]), declared)
    if request.strict and confounders:
        names = "; ".join(map(str, confounders))
        raise RequestError(f"--strict: the two differ in more than the declared factor: {names}")
    reference, other, notes = _with_common_seeds(reference, other)
    work = _Work(reference, other, store, request)
    parts = [DataCondition()] * any(part in request.parts for part in (METRIC, CLASS))
    parts += [*CONDITIONS.values()] if CONDITION in request.parts else []
    prepare(
        [*reference, *other],
        parts,
        store=store,
        settings=request.settings,
        progress=partial(progress, "resamples"),
    )
    found = Comparison(
        reference=tuple(reference),
        other=tuple(other),
        configuration=tuple(
            item for item in differences(*specs) if item.effect is IdentityEffect.CHANGES
        ),
        confounders=confounders,
        notes=(*left_out, *notes),
    )
    if METRIC in request.parts:
        errors = work.metrics(ERROR_NAMES) if request.errors else ()
        found = replace(found, metrics=work.metrics(request.metrics), errors=errors)
    if CLASS in request.parts:
        found = replace(found, classes=work.metrics([f"{CLASS_AP}{name}" for name in CLASS_NAMES]))
    if CONDITION in request.parts:
        found = replace(found, conditions=work.conditions(request.metrics[0]))
    if SCENE in request.parts:
        scenes = scene_changes(reference, other, store=store, progress=partial(progress, "runs"))
        found = replace(found, scenes=scenes)
    return found


def _with_common_seeds(
    reference: Sequence[RunRow], other: Sequence[RunRow]
) -> tuple[Sequence[RunRow], Sequence[RunRow], tuple[str, ...]]:
    """The runs that are compared in pairs, where there are such pairs, as `compare_arms` takes them.

    Both means are then of the seeds that the difference is of.
    """
    common = {row.seed for row in reference} & {row.seed for row in other} - {None}
    if not common or (len(common) == 1 and min(len(reference), len(other)) > 1):
        return reference, other, ()
    left_out = sorted(row.name for row in (*reference, *other) if row.seed not in common)
    note = f"left out, without a run of the same seed in the other arm: {', '.join(left_out)}"
    return (
        [row for row in reference if row.seed in common],
        [row for row in other if row.seed in common],
        (note,) * bool(left_out),
    )


class _Work:
    """The comparisons of two arms."""

    def __init__(
        self, reference: Sequence[RunRow], other: Sequence[RunRow], store: Store, request: Request
    ) -> None:
        self._arms = (reference, other)
        self._store = store
        self._settings = request.settings
        self._truths = GroundTruths(store)

    def metrics(self, names: Sequence[str]) -> tuple[Compared, ...]:
        """Metrics over all of the data, as one family of comparisons."""
        return self._decided([(name, None) for name in names])

    def conditions(self, metric: str) -> tuple[Compared, ...]:
        """One metric under each condition, as one family of comparisons."""
        return self._decided([(metric, condition) for condition in CONDITIONS])

    def _decided(self, wanted: Sequence[tuple[str, str | None]]) -> tuple[Compared, ...]:
        by_condition: dict[str | None, list[str]] = {}
        for metric, condition in wanted:
            by_condition.setdefault(condition, []).append(metric)
        found, means = {}, {}
        reference, other = self._arms
        for condition, metrics in by_condition.items():
            differing = compare_arms(
                reference,
                other,
                metrics,
                store=self._store,
                condition=condition,
                settings=self._settings,
            )
            each = [
                arm_intervals(
                    arm,
                    metrics,
                    store=self._store,
                    condition=condition,
                    settings=self._settings,
                )
                for arm in self._arms
            ]
            for metric in metrics:
                found[metric, condition] = differing[metric]
                means[metric, condition] = each[0][metric], each[1][metric]
        results = decide([found[key] for key in wanted], self._settings.alpha)
        return tuple(
            Compared(
                metric=metric,
                condition=condition,
                truths=self._count(metric, condition),
                reference=means[metric, condition][0],
                other=means[metric, condition][1],
                result=result,
            )
            for (metric, condition), result in zip(wanted, results, strict=True)
        )

    def _count(self, metric: str, condition: str | None) -> int | None:
        """Ground truths that a metric of both arms rests on; None where unknown or not the same."""
        counts = self._truths.of([*self._arms[0], *self._arms[1]], metric, condition)
        return counts.pop() if len(counts) == 1 else None
