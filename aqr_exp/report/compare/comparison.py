"""Two arms compared: configuration, metrics, classes, conditions and scenes."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from aqr_exp.config.identity import Difference, IdentityEffect, differences
from aqr_exp.errors import RequestError
from aqr_exp.evaluate.conditions import CONDITIONS, DataCondition
from aqr_exp.evaluate.protocol import ERROR_NAMES
from aqr_exp.files.progress import NamedProgress, no_progress
from aqr_exp.report.compare.scenes import SceneChanges, scene_changes
from aqr_exp.report.tables.notes import unrecorded_note
from aqr_exp.statistics.confounders import Confounder, all_confounders, check_factors
from aqr_exp.statistics.differences import DEFAULT, arm_intervals, compare_arms, record_looks
from aqr_exp.statistics.estimates import ArmMean
from aqr_exp.statistics.grouping import Group, origin_notes
from aqr_exp.statistics.metrics import CLASS_AP, MAIN_METRICS, class_names
from aqr_exp.statistics.own_metrics import with_own_metrics
from aqr_exp.statistics.resampling import Resampling
from aqr_exp.statistics.run_scores import GroundTruths, prepare
from aqr_exp.statistics.verdicts import ArmDifference
from aqr_exp.store.collect import RunRow
from aqr_exp.store.looks import Looks
from aqr_exp.store.store import Store

METRIC, CLASS, CONDITION, SCENE = "metric", "class", "condition", "scene"
PARTS = (METRIC, CLASS, CONDITION, SCENE)


@dataclass(frozen=True, kw_only=True)
class Request:
    """A comparison that is wanted.

    Attributes:
        errors: Whether the five true-positive errors are compared as well.
        parts: Of `PARTS`.
        factors: What the arms may differ in besides their variant.
        strict: Whether a confounded comparison is refused.
    """

    metrics: tuple[str, ...] = MAIN_METRICS
    errors: bool = True
    parts: tuple[str, ...] = PARTS
    factors: tuple[str, ...] = ()
    strict: bool = False
    settings: Resampling = DEFAULT


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One metric of two arms.

    Attributes:
        truths: Ground truths it rests on; None when unknown or not the same in both.
    """

    truths: int | None
    reference: ArmMean
    other: ArmMean
    difference: ArmDifference

    @property
    def metric(self) -> str:
        """Its name, without the condition."""
        return self.difference.metric

    @property
    def condition(self) -> str | None:
        """The part of the data; None for all of it."""
        return self.difference.condition


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The comparison of two arms.

    Attributes:
        reference: Runs of the reference arm that are compared.
        other: Those of the other arm; differences are other minus reference.
        configuration: Keys that can change the numbers and differ.
        confounders: What differs besides the declared factors.
        metrics: By metric; each metric of each block is a comparison of its own.
        classes: AP by class.
        conditions: The first metric by condition.
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
    request: Request,
    further: Sequence[Group] = (),
    left_out: Sequence[str] = (),
    progress: NamedProgress = no_progress,
) -> Comparison:
    """Compare two arms, or two runs.

    Args:
        further: Other arms of the reference's setting: their seeds tell of noise as well.
        left_out: Lines on runs of the two that are not among them; equal ones are shown once.
        progress: Called with (what, done, total).

    Raises:
        RequestError: A factor or a metric is unknown; or, when strict, the comparison is confounded.
        AqrExpError: A configuration is damaged; names the file.
    """
    declared = check_factors(request.factors)
    everyone = [row for arm in (reference, other, *further) for row in arm]
    rows, own = with_own_metrics(store, everyone, request.metrics)
    named = {row.name: row for row in rows}
    reference, other, *further = (
        [named[r.name] for r in arm] for arm in (reference, other, *further)
    )
    specs = [store.folder(arm[0].name).read_spec() for arm in (reference, other)]
    pair = specs[1], specs[0]
    differing = all_confounders(other, reference, pair, declared, store.same_code())
    confounders = tuple(item for item in differing if not item.tested)
    if request.strict and confounders:
        names = "; ".join(map(str, confounders))
        raise RequestError(f"--strict: the two differ in more than the declared factor: {names}")
    shown = [*reference, *other]
    notes = origin_notes(shown, strict=request.strict)
    notes += [str(item) for item in differing if item.tested]
    parts = request.parts
    drawn = [DataCondition()] * any(part in parts for part in (METRIC, CLASS))
    drawn += [*CONDITIONS.values()] if CONDITION in parts else []
    prepare(
        shown,
        drawn,
        store=store,
        settings=request.settings,
        progress=partial(progress, "resamples"),
    )
    truths = GroundTruths(store)
    looks = Looks(store.root)
    family = partial(_family, (reference, other), further, store, request.settings, truths, looks)
    found = Comparison(
        reference=tuple(reference),
        other=tuple(other),
        configuration=tuple(
            item for item in differences(*specs) if item.effect is IdentityEffect.CHANGES
        ),
        confounders=confounders,
        metrics=family(request.metrics) if METRIC in parts else (),
        errors=family(ERROR_NAMES) if METRIC in parts and request.errors else (),
        classes=family([f"{CLASS_AP}{name}" for name in class_names(shown)])
        if CLASS in parts
        else (),
        conditions=family(request.metrics[:1], [*CONDITIONS]) if CONDITION in parts else (),
        scenes=scene_changes(reference, other, store=store, progress=partial(progress, "runs"))
        if SCENE in parts
        else SceneChanges(),
    )
    parts_shown = (found.metrics, found.errors, found.classes, found.conditions)
    judged = [one.difference for part in parts_shown for one in part]
    (why,) = record_looks(looks, reference, [other], [judged])
    notes += [unrecorded_note(why)] if why else []
    return replace(found, notes=tuple(dict.fromkeys((*left_out, *notes, *own))))


def _family(
    arms: tuple[Sequence[RunRow], Sequence[RunRow]],
    further: Sequence[Group],
    store: Store,
    settings: Resampling,
    truths: GroundTruths,
    looks: Looks,
    metrics: Sequence[str],
    conditions: Sequence[str | None] = (None,),
) -> tuple[Compared, ...]:
    """Metrics under conditions, each a comparison of its own."""
    compared = []
    rows = [row for arm in arms for row in arm]
    for condition in conditions:
        estimate = partial(
            arm_intervals, metrics=metrics, store=store, condition=condition, settings=settings
        )
        reference, other = map(estimate, arms)
        found = compare_arms(
            arms[0],
            [arms[1]],
            metrics,
            further=further,
            store=store,
            condition=condition,
            settings=settings,
            looks=looks,
        )
        for metric in metrics:
            counts = truths.of(rows, metric, condition)
            compared.append(
                Compared(
                    truths=counts.pop() if len(counts) == 1 else None,
                    reference=reference[metric],
                    other=other[metric],
                    difference=found[metric][0],
                )
            )
    return tuple(compared)
