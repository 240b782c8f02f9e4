"""A plan: the runs a sweep means, each once, in order. It changes nothing; launching carries it out."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from aqr_exp.config.compose import Override
from aqr_exp.config.load import ConfigLoader, LoadedRun
from aqr_exp.config.schema import RunConfig
from aqr_exp.config.short_names import keys_set_by
from aqr_exp.errors import Fault, RequestError
from aqr_exp.sweep.expand import POINT, SweepPoint, fitting_nothing, sweep_points
from aqr_exp.sweep.request import SweepRequest

MOST_RUNS = 100_000
MOST_FAULTS = 20


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """One run of a plan.

    Attributes:
        overrides: What would be typed after the variant to get the same run, without the seed.
        config: The complete, checked configuration, with the identity of its data.
        name: Its folder's name, and its identity: no other run of the plan has it.
        labels: Why it is in the plan: `point`, `baseline`, or both.
        expected_s: How long it is expected to train, in seconds; None when nothing tells.
    """

    variant: str
    overrides: tuple[str, ...]
    seed: int
    config: RunConfig
    name: str
    labels: tuple[str, ...]
    expected_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The runs of a sweep.

    Attributes:
        runs: Unique by name, in the order of the sweep; seed after seed, so that what is finished
            first is a whole replicate.
        collapsed: Points that were the same run as an earlier one; baselines that points share
            are not counted.
        skipped: Points that a condition of the sweep left out.
    """

    name: str
    runs: tuple[PlannedRun, ...]
    collapsed: int = 0
    skipped: int = 0


def plan_sweep(
    request: SweepRequest,
    expected: Callable[[RunConfig], float | None] | None = None,
    loader: ConfigLoader | None = None,
) -> Plan:
    """Work out every run of a sweep, each once; reads the data's identity and changes nothing.

    Args:
        expected: How long a run is expected to train, in seconds.
        loader: One with the identity of the data, kept for many plans.

    Raises:
        RequestError: One line for each fault of a point, with the line of the file it comes from;
            or the sweep holds too many runs, or none.
    """
    _check_size(request)
    loader = loader or ConfigLoader(with_data=True)
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
    runs, collapsed = _unique(request, loaded, expected or (lambda _: None))
    return Plan(name=request.name, runs=runs, collapsed=collapsed, skipped=skipped)


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
                )
    runs = (replace(run, labels=tuple(labels[name])) for name, run in first.items())
    return tuple(runs), collapsed
