"""Execution of a sweep until it is decided: seeds are added to the arms that are not decided yet."""

import itertools
from dataclasses import replace

import msgspec
import numpy as np

from aqr_exp.cli import console
from aqr_exp.cli.sweep_execute import find_room, preflight, run_tasks, summarize
from aqr_exp.config import BASELINE
from aqr_exp.config.identity import as_dict, setting_fingerprint
from aqr_exp.errors import Fault, RequestError
from aqr_exp.files.progress import duration
from aqr_exp.files.run_name import arm_of, first_of
from aqr_exp.launch.slurm import refuse_slurm
from aqr_exp.launch.stage_source import StageSource
from aqr_exp.statistics.metrics import in_points
from aqr_exp.statistics.sequential import check_decisions, said, walk
from aqr_exp.store.collect import collect
from aqr_exp.store.counting import grouped
from aqr_exp.store.decisions import Decided, Design, read_decided, write_once
from aqr_exp.store.run_folder import utc_now
from aqr_exp.store.store import Store
from aqr_exp.sweep.plan import Plan, plan_sweep
from aqr_exp.sweep.request import SweepRequest
from aqr_exp.sweep.status import StatusReader

_TRIED = 400
"""Experiments that the expected number of runs is the mean of."""


def execute_until_decided(
    request: SweepRequest,
    store: Store,
    *,
    slots: int | None = None,
    detached: bool = False,
    try_first: bool = False,
) -> int:
    """Run a sweep until it is decided, and report; see `execute`.

    Raises:
        RequestError: There can be no such plan, or another one is written down; nothing was started.
    """
    decided, plan = planned(request, store)
    first = replace(plan, runs=plan.runs[: len(decided.design.arms) + 1])
    refuse_slurm((run.config for run in first.runs), "--until-decided")
    executor, slot = find_room([run.config for run in first.runs], store, slots)
    sweep = store.sweep(request.name)
    if try_first and not decided.decisions:
        preflight(first, store, slot)
    sweep.path.mkdir(parents=True, exist_ok=True)
    write_once(sweep, decided.design)
    if not sweep.plan_path.exists():
        sweep.write_plan([], request.origin, request.primary, request.factors, ())
    _, plan = planned(request, store)  # another process may have written its plan first
    runs = {run.name: run for run in plan.runs}
    return run_tasks(
        request.name,
        [],
        store,
        executor,
        sweep=sweep,
        detached=detached,
        source_of=lambda watch, say: StageSource(
            runs, store, sweep, threads=slot.threads, watch=watch, say=say
        ),
        at_end=lambda: summarize(sweep, store, metric=decided.design.primary),
    )


def show_until_decided(request: SweepRequest, store: Store, *, as_json: bool) -> None:
    """Print the plan, what it will cost, and where it is; nothing is started or left behind.

    Raises:
        RequestError: As `execute_until_decided`.
    """
    decided, plan = planned(request, store)
    design, arms = decided.design, len(decided.design.arms) + 1
    sd, most = design.sesoi / 2, len(design.seeds)
    draws = np.random.default_rng(0).normal(0, sd, (_TRIED, arms, most))
    means = []
    for effect in (0.0, design.sesoi):
        draws[:, 1] += effect
        means.append(round(float(walk(draws, design.start, design.sesoi)[1].mean())))
    costs = {"least": arms * design.start, "none differs": means[0]}
    costs |= {f"one differs by {design.sesoi:g} points": means[1], "worst": arms * most}
    times = [run.expected_s for run in plan.runs if run.expected_s is not None]
    each_s = sum(times) / len(times) if times else None
    if as_json:
        found = {**msgspec.to_builtins(design), "hash": design.hash, "due": decided.due()}
        found |= {"runs": costs, "run_s": each_s, "decided": msgspec.to_builtins(decided.arms)}
        console.print_json(found)
        return
    seeds = ", ".join(map(str, design.seeds))
    console.data(
        f"{design.sweep} until decided: {design.primary} of {arms - 1} arms against {design.reference}, "
        f"looks after {design.start} to {most} seeds ({seeds}), smallest effect of interest "
        f"{design.sesoi:g} points; plan {design.hash[:12]}"
    )
    for words, runs in costs.items():
        time = "unknown time" if each_s is None else duration(runs * each_s, rounded=True)
        console.data(f"  {words}: {runs} runs, {time} one after the other")
    console.data(f"  (on average, where the sd of one run is {sd:g} points)")
    console.data("\n".join(said(decided)))


def planned(request: SweepRequest, store: Store) -> tuple[Decided, Plan]:
    """The plan of a sweep with the decisions so far, and all runs that it may need; changes nothing.

    Raises:
        RequestError: There can be no such plan, or another one is written down.
        AqrExpError: What is written down is damaged, or not what its runs give.
    """
    name, sweep = request.name, store.sweep(request.name)
    if request.arms:
        rule = "--until-decided decides all arms of a sweep: leave the key out"
        raise RequestError(Fault("arms", None, rule, where=request.source))
    if request.search is not None:
        raise RequestError(f"--until-decided: {name} is a search: its points are proposed")
    if not in_points(request.primary):
        rule = "--until-decided needs a metric that is given in points: mAP, NDS or AP/car and the like"
        raise RequestError(Fault("primary", request.primary, rule, where=request.source))
    decided = read_decided(sweep)
    if decided is None and sweep.read_plan_if_any():
        raise RequestError(
            f"sweep '{name}' was begun without --until-decided, and a plan comes before the runs: "
            "--name NAME makes another sweep"
        )
    seeds = _fresh_seeds(request, store) if decided is None else decided.design.seeds
    plan = plan_sweep(replace(request, seeds=seeds), StatusReader(store).expected())
    design = _design(request, plan, seeds)
    if decided is None:
        return Decided(design=design), plan
    ours = {**msgspec.to_builtins(design), "max_seeds": request.until.max_seeds}
    theirs = {**msgspec.to_builtins(decided.design), "max_seeds": len(seeds)}
    for key in ("primary", "sesoi", "start", "max_seeds", "reference", "arms"):
        if ours[key] != theirs[key]:
            rule = f"sweep '{name}' was planned with {theirs[key]}: --name NAME makes another sweep"
            raise RequestError(Fault(key, str(ours[key]), rule))
    check_decisions(decided)
    return decided, plan


def _fresh_seeds(request: SweepRequest, store: Store) -> tuple[int, ...]:
    """Those of the request, then the numbers after them; none that an arm has a result of already."""
    done = {first_of(row.name) for row in collect(store) if row.completed}
    arms = dict.fromkeys(arm_of(run.name) for run in plan_sweep(request).runs)
    rising = itertools.chain(request.seeds, itertools.count(max(request.seeds) + 1))
    fresh = (seed for seed in rising if not any(f"{arm}-s{seed}" in done for arm in arms))
    seeds = tuple(itertools.islice(fresh, request.until.max_seeds))
    left = [str(seed) for seed in request.seeds if seed not in seeds]
    if left:
        console.say(
            f"{request.name}: not seeds {', '.join(left)}: a plan takes at most {request.until.max_seeds}, "
            "and none whose result is known"
        )
    return seeds


def _design(request: SweepRequest, plan: Plan, seeds: tuple[int, ...]) -> Design:
    """The plan of looks.

    Raises:
        RequestError: The sweep has no arm to compare with, or several, or arms that cannot be compared.
    """
    arms = grouped(plan.runs, lambda run: arm_of(run.name))
    references = [arm for arm, runs in arms.items() if runs[0].variant == BASELINE]
    others = [arm for arm in arms if arm not in references]
    where = f"--until-decided: {request.name}"
    if len(references) != 1 or not others:
        has = f"{len(references)} baselines and {len(others)} other arms"
        raise RequestError(f"{where} has {has}: it takes one baseline (baseline: true) and others")
    if any(len(runs) != len(seeds) for runs in arms.values()):
        raise RequestError(f"{where}: a condition leaves seeds of an arm out: each arm takes all")
    settings = {setting_fingerprint(as_dict(runs[0].config)) for runs in arms.values()}
    if len(settings) > 1:
        raise RequestError(
            f"{where}: its arms differ in model, data or schedule: one sweep for each"
        )
    return Design(
        sweep=request.name,
        written=utc_now(),
        primary=request.primary,
        sesoi=float(request.until.sesoi),
        start=request.until.start,
        seeds=seeds,
        reference=references[0],
        arms=tuple(others),
    )
