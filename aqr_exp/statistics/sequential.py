"""Seeds until decided: after each seed a look, at levels that hold together (docs/statistics.md).

A look takes counts, means and sums of squares alone, so that whoever has the same runs decides the same.

Letters: R experiments, K arms of which the first is the reference, J = K - 1, L looks.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float

from aqr_exp.errors import AqrExpError
from aqr_exp.statistics.metrics import lower_is_better
from aqr_exp.statistics.rule import satterthwaite, shrunk, sum_of_squares
from aqr_exp.statistics.verdicts import (
    BETTER,
    NO_DATA,
    UNDECIDED,
    WORSE,
    ArmDifference,
    no_larger,
    number,
)
from aqr_exp.store.decisions import ArmDecision, Decided, Decision, Design

LEVEL = 0.045
"""That of all looks and arms together: with growing degrees of freedom it comes to 5 % at most."""

_SPENT_LATE = 1.5
_FUTILITY = 0.98
"""One-sided confidence that an arm differs by less than the smallest effect of interest."""
_GRID = 1201


@lru_cache(maxsize=256)
def look_levels(hypotheses: int, start: int, most: int) -> tuple[float, ...]:
    """The two-sided level of each look at one arm, from `start` to `most` seeds.

    Of LEVEL / hypotheses the share (seeds / most) ** 1.5 is spent by each look: the chance that a walk
    of independent seeds crosses any of the bounds so far (Lan and DeMets 1983).
    """
    from scipy.optimize import brentq
    from scipy.special import ndtr

    levels: list[float] = []
    at = np.zeros(1)
    weights, before, spent = np.ones(1), 0, 0.0
    for seeds in range(start, most + 1):
        step = (seeds - before) ** 0.5
        due = LEVEL / hypotheses * (seeds / most) ** _SPENT_LATE - spent

        def crosses(bound: float, at: np.ndarray = at, step: float = step) -> np.ndarray:
            return np.asarray(ndtr((at - bound) / step) + ndtr((-at - bound) / step))

        def excess(bound: float, weights: np.ndarray = weights, due: float = due) -> float:
            return float(weights @ crosses(bound)) - due

        bound = float(brentq(excess, 0.0, 12.0 * seeds**0.5))
        levels.append(2 * float(ndtr(-bound / seeds**0.5)))
        grid = np.linspace(-bound, bound, _GRID)
        density = weights @ np.exp(-(((grid - at[:, None]) / step) ** 2) / 2) / step
        width = (grid[1] - grid[0]) * np.where(np.abs(grid) == bound, 0.5, 1.0)
        spent += due
        at, weights, before = grid, density * width / (2 * np.pi) ** 0.5, seeds
    return tuple(levels)


@dataclass(frozen=True, kw_only=True, eq=False)
class Look:
    """What a look at some experiments finds of each arm but the reference.

    Attributes:
        difference: Means less the reference's.
        sd: Standard deviation of that.
        degrees: Of its noise.
        p: Two-sided, of this look alone; 1 of arms that cannot be judged.
        found: Whether it differs, of arms that were in.
        level: At which it was judged.
        small: Whether it differs by less than the smallest effect of interest, of arms that were in.
    """

    difference: Float[np.ndarray, "R J"]
    sd: Float[np.ndarray, "R J"]
    degrees: Float[np.ndarray, "R J"]
    p: Float[np.ndarray, "R J"]
    found: Bool[np.ndarray, "R J"]
    level: Float[np.ndarray, "R J"]
    small: Bool[np.ndarray, "R J"]


def look_at(
    counts: Float[np.ndarray, "R K"],
    means: Float[np.ndarray, "R K"],
    squares: Float[np.ndarray, "R K"],
    is_in: Bool[np.ndarray, "R J"],
    left: Float[np.ndarray, " R"],
    levels: Float[np.ndarray, " J"],
    sesoi: float,
    least: int = 4,
) -> Look:
    """Look at experiments that are equally far.

    The arm with the smallest p is judged first; where it differs the next is judged at the level for one
    hypothesis less, and so on (Holm's way, group-sequential: Ye and others 2013).

    Args:
        counts: Seeds of each arm.
        squares: Sums of squares around the means.
        is_in: The arms that are not decided yet.
        left: How many arms were not found to differ, dropped ones included.
        levels: This look's level for 1, 2, ..., J hypotheses.
        sesoi: The smallest effect of interest, as `means`.
        least: Degrees of freedom of all arms below which nothing is decided.
    """
    from scipy.special import stdtr, stdtrit

    total = np.maximum(counts - 1, 0).sum(axis=1, keepdims=True)
    s2 = squares.sum(axis=1, keepdims=True) / np.maximum(total, 1)
    seeds = np.maximum(counts, 1)
    parts = shrunk(squares, seeds, s2)
    ours, theirs = parts[:, 1:], parts[:, :1]
    can = (total >= least) & (s2 > 0) & (counts[:, 1:] >= 1) & (counts[:, :1] >= 2)
    sd = np.sqrt(np.where(can, ours + theirs, np.inf))
    usual = np.where(can, ours, 1.0), np.where(can, theirs, 1.0)
    degrees = satterthwaite(usual, (seeds[:, 1:], seeds[:, :1]), np.maximum(total, 1))
    difference = means[:, 1:] - means[:, :1]
    p = np.where(can, 2 * stdtr(degrees, -np.abs(difference) / sd), 1.0)
    found, level, left = np.zeros_like(is_in), np.ones(p.shape), left.astype(int).copy()
    rows = np.arange(len(p))
    for _ in range(p.shape[1]):
        rest = is_in & ~found
        first = np.argmin(np.where(rest, p, 2.0), axis=1)
        now = levels[np.maximum(left, 1) - 1]
        level[rest] = np.broadcast_to(now[:, None], p.shape)[rest]
        hit = rest[rows, first] & (p[rows, first] <= now)
        found[rows[hit], first[hit]] = True
        left -= hit
    reach = np.abs(difference) + stdtrit(degrees, _FUTILITY) * sd
    return Look(
        difference=difference,
        sd=sd,
        degrees=degrees,
        p=p,
        found=found,
        level=level,
        small=is_in & ~found & (reach < sesoi),
    )


def decide(decided: Decided, runs: Mapping[str, float | None]) -> dict[str, ArmDecision]:
    """The next decision of a sweep: what its look finds of every arm.

    Args:
        decided: The plan and the decisions before.
        runs: The metric of each run that the look takes in; None of those that gave none.
    """
    from scipy.special import stdtrit

    design, look = decided.design, decided.look
    if look is None:
        raise ValueError("all arms are decided")
    values: dict[str, list[float]] = {arm: [] for arm in (design.reference, *design.arms)}
    for name, value in {**decided.values, **runs}.items():
        if value is not None:
            values[name.rpartition("-s")[0]].append(value)
    rows = [np.array(each) for each in values.values()]
    counts = np.array([[len(each) for each in rows]])
    means = np.array([[each.mean() if len(each) else 0.0 for each in rows]])
    squares = np.array([[sum_of_squares(each) for each in rows]])
    before, active = decided.arms, set(decided.active)
    is_in = np.array([[arm in active for arm in design.arms]])
    sesoi, most = design.sesoi / 100, len(design.seeds)
    differing = sum(one.word in {BETTER, WORSE} for one in before.values())
    levels = np.array(
        [
            look_levels(count, design.start, most)[look - design.start]
            for count in range(1, len(design.arms) + 1)
        ]
    )
    left = np.array([len(design.arms) - differing])
    seen = look_at(counts, means, squares, is_in, left, levels, sesoi)
    found = dict(before)
    for at, arm in enumerate(design.arms):
        if arm not in active:
            continue
        mean, sd = float(seen.difference[0, at]), float(seen.sd[0, at])
        word, differs = UNDECIDED, bool(seen.found[0, at])
        if differs:
            word = BETTER if (mean > 0) != lower_is_better(design.primary) else WORSE
        elif seen.small[0, at]:
            word = no_larger(sesoi)
        low = high = None
        if np.isfinite(sd):
            half = -float(stdtrit(seen.degrees[0, at], levels[-1] / 2)) * sd
            # What is found only after others were has an interval that ends at 0.
            low = max(mean - half, 0.0 if differs and mean > 0 else -1.0)
            high = min(mean + half, 0.0 if differs and mean < 0 else 1.0)
        found[arm] = ArmDecision(
            word=word,
            out=word != UNDECIDED or look == most,
            look=look,
            n=int(counts[0, at + 1]),
            n_reference=int(counts[0, 0]),
            mean=mean if counts[0, at + 1] and counts[0, 0] else None,
            low=low,
            high=high,
            sd=sd if np.isfinite(sd) else None,
            p=float(seen.p[0, at]),
            level=float(seen.level[0, at]),
            degrees=float(seen.degrees[0, at]),
        )
    return found


def next_decision(
    decided: Decided,
    runs: Mapping[str, float | None],
    missing: Mapping[str, str],
    metrics: Mapping[str, str],
) -> Decision:
    """The next decision as it is written down.

    Args:
        missing: Why runs gave no metric.
        metrics: The SHA-256 of the runs' metrics files.
    """
    return Decision(
        design=decided.design.hash,
        after=decided.hash,
        look=decided.look or 0,
        runs=dict(runs),
        missing=dict(missing),
        metrics=dict(metrics),
        arms=decide(decided, runs),
    )


def check_decisions(decided: Decided) -> None:
    """Compute every decision again from the runs that it took in.

    Raises:
        AqrExpError: One is not what its runs give; names the sweep and the look.
    """
    before = Decided(design=decided.design)
    for one in decided.decisions:
        again = decide(before, one.runs)
        if {arm: (it.word, it.out) for arm, it in again.items()} != {
            arm: (it.word, it.out) for arm, it in one.arms.items()
        }:
            raise AqrExpError(
                f"sweep '{decided.design.sweep}': the decision after {one.look} seeds is not what its "
                "runs give: it was changed, or made by another version"
            )
        before = Decided(design=decided.design, decisions=(*before.decisions, one))


def bounds_of(one: ArmDecision, design: Design) -> tuple[float, float] | None:
    """From where on an arm is better or worse at its look, and within what it is out; None without noise.

    Both are distances from 0; the second may be below it: then no difference is small enough.
    """
    from scipy.special import stdtrit

    if one.sd is None:
        return None
    beyond = -float(stdtrit(one.degrees, one.level / 2)) * one.sd
    return beyond, design.sesoi / 100 - float(stdtrit(one.degrees, _FUTILITY)) * one.sd


def said(decided: Decided) -> list[str]:
    """The last decision in lines: each arm, and where the bounds lie for those that go on."""
    design, lines = decided.design, []
    look = decided.decisions[-1].look if decided.decisions else 0
    for arm, one in decided.arms.items():
        if one.look != look:
            continue
        mean = "no runs" if one.mean is None else number(design.primary, one.mean, "+")
        line = f"{design.sweep}: {look} seeds: {arm}: {one.word if one.out else 'goes on'}: {mean}"
        bounds = bounds_of(one, design)
        if not one.out and bounds is not None:
            beyond, within = bounds
            line += f" (better or worse beyond ±{number(design.primary, beyond)}"
            line += f", out within ±{number(design.primary, within)})" if within > 0 else ")"
        lines.append(line)
    for name, why in decided.decisions[-1].missing.items() if decided.decisions else ():
        lines.append(f"{design.sweep}: {look} seeds: without {name}: {why}")
    most = len(design.seeds)
    if decided.look is not None:
        at = f"{decided.look} of {most} seeds"
        due = len(decided.due())
        lines.append(f"{design.sweep}: next look at {at}: {due} runs; plan {design.hash[:12]}")
    return lines


def walk(
    values: Float[np.ndarray, "R K N"], start: int, sesoi: float
) -> tuple[Bool[np.ndarray, "R J"], Float[np.ndarray, " R"]]:
    """Whole experiments: which arms are found to differ, and how many runs they take.

    Args:
        values: One run's metric by experiment, arm (the reference first) and seed.
        sesoi: The smallest effect of interest, as `values`.
    """
    count, arms, most = values.shape
    levels = np.array([look_levels(m, start, most) for m in range(1, arms)])
    is_in, found = np.ones((count, arms - 1), bool), np.zeros((count, arms - 1), bool)
    seeds = np.full((count, arms), start)
    for look in range(start, most + 1):
        going = np.concatenate([is_in.any(axis=1, keepdims=True), is_in], axis=1)
        seeds = np.where(going, look, seeds)
        there = np.arange(most) < seeds[:, :, None]
        means = np.where(there, values, 0).sum(axis=2) / seeds
        squares = np.where(there, (values - means[:, :, None]) ** 2, 0).sum(axis=2)
        left = arms - 1 - found.sum(axis=1)
        seen = look_at(seeds, means, squares, is_in, left, levels[:, look - start], sesoi)
        found |= seen.found
        is_in = is_in & ~seen.found & ~seen.small
    return found, seeds.sum(axis=1)


def with_decision(one: ArmDifference, decided: Decided, arm: str) -> ArmDifference:
    """A difference of the primary metric, as the decisions have it."""
    design, found = decided.design, decided.arms.get(arm)
    count, most = len(design.arms), len(design.seeds)
    rule = f"sweep {design.sweep} until decided, looks after {design.start} to {most} seeds"
    blank = replace(
        one, word=UNDECIDED, mean=None, low=None, high=None, p=None, mde=None, needed=None
    )
    blank = replace(blank, look=1, elsewhere=None, comparisons=count, note="", held_back=False)
    if found is None:
        return replace(blank, design=f"{rule}: none yet")
    words = f"look after {found.look}: p = {found.p:.2g} at a level of {found.level:.2g}"
    if found.word == UNDECIDED and found.out:
        words += ", the last one"
    elif found.out:
        words += "; estimates after early stopping are too large on average"
    return replace(
        blank,
        design=f"{rule}: {words}; the interval holds at all looks",
        word=found.word if found.mean is not None else NO_DATA,
        mean=found.mean,
        low=found.low,
        high=found.high,
        n_other=found.n,
        n_reference=found.n_reference,
    )
