"""A plan: the runs a sweep means, each once, in order. It changes nothing; launching carries it out."""

import unicodedata
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from aqr_exp.config import BASELINE
from aqr_exp.config.compose import Override
from aqr_exp.config.conditions import chosen_names, looking_at
from aqr_exp.config.load import ConfigLoader, LoadedRun
from aqr_exp.config.schema import RunConfig
from aqr_exp.config.short_names import keys_set_by
from aqr_exp.errors import Fault, RequestError, cut
from aqr_exp.files.run_name import arm_of, first_of
from aqr_exp.statistics.metrics import PRIMARY
from aqr_exp.store.collect import collect
from aqr_exp.store.store import Store
from aqr_exp.store.sweep_folder import SweepEntry, check_sweep_name
from aqr_exp.sweep.expand import POINT, SweepPoint, fits, fitting_nothing, sweep_points
from aqr_exp.sweep.request import SweepRequest, overlap
from aqr_exp.sweep.values import read_override

MOST_RUNS = 100_000
MOST_FAULTS = 20
CONFIRMS = "confirm-"
"""The beginning of the names of confirmations; no other sweep's name begins so."""


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """One run of a plan.

    Attributes:
        overrides: What would be typed after the variant to get the same run, without the seed.
        config: The complete, checked configuration, with the identity of its data.
        name: Its folder's name, and its identity: no other run of the plan has it.
        labels: Why it is in the plan: `point`, `baseline`, or both; `joined` from an earlier request.
        expected_s: How long it is expected to train, in seconds; None when nothing tells.
        words: What was typed beside the sweep when it was asked for.
    """

    variant: str
    overrides: tuple[str, ...]
    seed: int
    config: RunConfig
    name: str
    labels: tuple[str, ...]
    expected_s: float | None = None
    words: str | None = None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The runs of a sweep.

    Attributes:
        runs: Unique by name, in the order of the sweep; seed after seed, so that what is finished
            first is a whole replicate.
        collapsed: Points that were the same run as an earlier one; baselines that points share
            are not counted.
        skipped: Points that a condition of the sweep left out.
        joined: Points of earlier requests that the sweep means too.
        origin: That of its request, as `primary`, `factors` and, in words, `arms`.
        seen: The runs that its folder meant when it was planned; None where nobody looked.
    """

    name: str
    runs: tuple[PlannedRun, ...]
    collapsed: int = 0
    skipped: int = 0
    joined: int = 0
    origin: str = ""
    primary: str = PRIMARY
    factors: tuple[str, ...] = ()
    arms: tuple[str, ...] = ()
    seen: frozenset[str] | None = None


def plan_sweep(
    request: SweepRequest,
    expected: Callable[[RunConfig], float | None] | None = None,
    loader: ConfigLoader | None = None,
    earlier: Sequence[SweepEntry] = (),
) -> Plan:
    """Work out every run of a sweep, each once; reads the data's identity and changes nothing.

    Args:
        expected: How long a run is expected to train, in seconds.
        loader: One with the identity of the data, kept for many plans.
        earlier: The runs that the sweep's folder means: those that other words asked for join.

    Raises:
        RequestError: One line for each fault of a point, with the line of the file it comes from;
            or the sweep holds too many runs, or none, or runs that cannot be compared with these.
    """
    _check_size(request)
    loader = loader or ConfigLoader(with_data=True, begins=True)
    loaded: list[tuple[SweepPoint, LoadedRun]] = []
    faults: list[Fault] = []
    skipped = 0
    for member in sweep_points(request, loader):
        if isinstance(member, RequestError):
            faults += member.faults
            continue
        skipped += len(request.seeds) - len(member.seeds) if member.label == POINT else 0
        if not member.seeds:
            continue
        try:
            loaded.append((member, loader.load(member.variant, member.overrides)))
        except RequestError as error:
            faults += placed(error.faults, member.overrides, request.source)
    if faults:
        faults = list(dict.fromkeys(faults))
        more = [f"{request.name}: and {len(faults) - MOST_FAULTS} more faults"]
        raise RequestError(*faults[:MOST_FAULTS], *more * (len(faults) > MOST_FAULTS))
    if not loaded:
        raise RequestError(f"{request.name}: every point is skipped: no run is left")
    _check_family(request, loaded, loader)
    time_of = expected or (lambda _: None)
    runs, collapsed = _unique(request, loaded, time_of)
    joined = _joined(request, {run.name for run in runs}, earlier, loader, time_of)
    points = {arm_of(run.name) for run in joined} - {arm_of(run.name) for run in runs}
    return Plan(
        name=request.name,
        runs=(*runs, *joined),
        collapsed=collapsed,
        skipped=skipped,
        joined=len(points),
        origin=request.origin,
        primary=request.primary,
        factors=request.factors,
        arms=request.family,
    )


def _check_family(
    request: SweepRequest, loaded: Sequence[tuple[SweepPoint, LoadedRun]], loader: ConfigLoader
) -> None:
    """Refuse a declaration that no arm meets, with its line."""
    for condition in request.arms:
        for member, _ in loaded:
            composed = loader.mapping(member.variant, member.overrides)
            chosen = chosen_names(member.variant, member.overrides, composed, loader.groups)
            if member.variant != BASELINE and condition.holds(looking_at(composed, chosen)):
                break
        else:
            rule = "no arm that is compared with a baseline is so"
            raise RequestError(Fault("arms", condition.text, rule, where=condition.where))


def check_name(request: SweepRequest, store: Store) -> None:
    """Refuse a sweep whose name is another's, or no name of a folder; changes nothing.

    Raises:
        RequestError: Names the other, and the way out.
    """
    name, way = request.name, ": --name NAME gives this one another name"
    check_sweep_name(name)
    if name.startswith(CONFIRMS):
        raise RequestError(f"sweep '{name}': `aqr-exp confirm` names its sweeps so{way}")
    for other in store.sweep_names():
        if other != name and _folded(other) == _folded(name):
            rule = f"there is '{other}', which differs in case or spelling of letters only"
            raise RequestError(f"sweep '{name}': {rule}{way}")
    declared, family = store.sweep(name).declared()
    if None in {declared, family} and request.search is None and _has_results(store, name):
        # What was not declared before it ran is not declared after its results were seen.
        declared, family = declared or PRIMARY, family or ()
    texts = ("primary", declared, request.primary), ("arms", family, request.family)
    for key, before, now in texts:
        if before not in {None, now}:
            was, is_now = (
                one if isinstance(one, str) else " or ".join(one or ()) or "all"
                for one in (before, now)
            )
            rule = f"sweep '{name}' was declared with {was} before it ran{way}"
            raise RequestError(Fault(key, is_now, rule, where=request.source))
    origin = store.sweep(name).origin()
    if origin is None or origin == request.origin or ("/" in origin and not Path(origin).exists()):
        return  # a file that was moved is still the same sweep
    of = "was typed" if origin == "" else f"is that of {cut(origin)}"
    raise RequestError(f"sweep '{name}' {of}{way}")


def _has_results(store: Store, sweep: str) -> bool:
    """Whether any run that a sweep means, or ever meant, is complete."""
    names = {entry.name for entry in store.sweep(sweep).read_known()}
    return any(row.completed and first_of(row.name) in names for row in collect(store))


def _folded(name: str) -> str:
    """A name as file systems see it that tell neither case nor compositions of letters apart."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def _joined(
    request: SweepRequest,
    planned: Collection[str],
    earlier: Sequence[SweepEntry],
    loader: ConfigLoader,
    expected: Callable[[RunConfig], float | None],
) -> list[PlannedRun]:
    """The runs that other words asked for under the sweep's name, as what they mean now.

    What the same words asked for has left the file since. A file's runs whose words are not known
    have, too.

    Raises:
        RequestError: They differ from the request's in more than what it sweeps.
    """
    found: dict[str, PlannedRun] = {}
    swept = [axis.key for axis in (*request.grid, *request.zipped)]
    swept += [item.key for point in request.points for item in point.overrides]
    ours = _setting(request.fixed, swept)
    for entry in earlier:
        same = entry.words == request.words if entry.words is not None else request.source != ""
        if same or entry.name in planned:
            continue
        overrides = tuple(
            one for text in entry.overrides for one in read_override(text, loader.groups)
        )
        try:
            run = loader.load(entry.variant, overrides)
        except RequestError:
            continue  # of another version: it is shown as removed
        theirs = _setting(overrides, swept)
        is_reference = entry.variant == BASELINE and BASELINE not in request.variants
        if (
            not is_reference
            and theirs != ours
            and _identity(loader, theirs) != _identity(loader, ours)
        ):
            words = " ".join(item.typed for item in theirs) or "the defaults"
            hint = "--name NAME makes another sweep, --cancel-removed replaces them"
            raise RequestError(f"sweep '{request.name}' holds runs with {words}: {hint}")
        name = run.name_of(entry.seed)
        if name not in planned:
            found[name] = PlannedRun(
                variant=entry.variant,
                overrides=entry.overrides,
                seed=entry.seed,
                config=replace(run.config, seed=entry.seed),
                name=name,
                labels=("joined",),
                expected_s=expected(run.config),
                words=entry.words,
            )
    return list(found.values())


def _setting(overrides: Sequence[Override], swept: Collection[str]) -> list[Override]:
    """The overrides that points are compared under: neither swept nor of a variant's parts."""
    return [
        item
        for item in overrides
        if fits(BASELINE, item) and not any(overlap(item.key, key) for key in swept)
    ]


def _identity(loader: ConfigLoader, overrides: Sequence[Override]) -> str | None:
    """What a setting is by, whatever words it is written in; None where it cannot be composed."""
    try:
        return loader.load(BASELINE, overrides).fingerprint
    except RequestError:
        return None


def placed(faults: Sequence[Fault], overrides: Sequence[Override], source: str) -> Iterator[Fault]:
    """Faults of a point, each with the file and line of the override it concerns."""
    for fault in faults:
        named = (key for key in (fault.key, *fault.about) if key)
        found = (where for key in named if (where := _place_of(key, overrides)) is not None)
        yield fault if fault.where else replace(fault, where=next(found, None) or source)


def _place_of(key: str, overrides: Sequence[Override]) -> str | None:
    """The place of the override that sets a key: by its name, an alias, or as a group above it."""
    rules: tuple[Callable[[str], bool], ...] = (
        lambda typed: typed == key,
        lambda typed: key in keys_set_by(typed),
        lambda typed: key.startswith((f"{typed}.", f"{typed}[", f"variant.{typed}.")),
    )
    return next((item.where for rule in rules for item in overrides if rule(item.key)), None)


def _check_size(request: SweepRequest) -> None:
    """Refuse what would plan for ever, and what would plan something else than is written."""
    if request.search is not None:
        raise RequestError(f"{request.name}: is a search: its points are proposed, not planned")
    runs = request.size * len(request.seeds)
    if runs > MOST_RUNS:
        raise RequestError(f"{request.name}: names {runs} runs: at most {MOST_RUNS}")
    idle = fitting_nothing(request)
    if idle:
        arms = ", ".join(request.all_variants)
        fault = f"no variant of this sweep has it ({arms})"
        raise RequestError(*(Fault(item.key, None, fault, where=item.where) for item in idle))


def _unique(
    request: SweepRequest,
    loaded: list[tuple[SweepPoint, LoadedRun]],
    expected: Callable[[RunConfig], float | None],
) -> tuple[tuple[PlannedRun, ...], int]:
    """Each run once, seed after seed, and how many points were another's run."""
    labels: dict[str, dict[str, None]] = {}
    first: dict[str, PlannedRun] = {}
    collapsed = 0
    times = [expected(point.config) for _, point in loaded]
    for seed in request.seeds:
        for (member, point), expected_s in zip(loaded, times, strict=True):
            if seed not in member.seeds:
                continue
            name = point.name_of(seed)
            collapsed += member.label == POINT and POINT in labels.get(name, ())
            labels.setdefault(name, {})[member.label] = None
            if name not in first:
                first[name] = PlannedRun(
                    variant=member.variant,
                    overrides=tuple(item.typed for item in member.overrides),
                    seed=seed,
                    config=replace(point.config, seed=seed),
                    name=name,
                    labels=(),
                    expected_s=expected_s,
                    words=request.words,
                )
    runs = (replace(run, labels=tuple(labels[name])) for name, run in first.items())
    return tuple(runs), collapsed
