"""Plan and decisions of a sweep that runs until it is decided, each written once and for good.

Each is a folder below `decisions/` of the sweep that arrives whole: of several launchers one writes it, and
the others read that one.
"""

import contextlib
import hashlib
import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from aqr_exp.errors import AqrExpError
from aqr_exp.files.atomic import clear_litter, draft_of
from aqr_exp.files.checksum import read_checked_json, replace_checked_json
from aqr_exp.files.run_name import arm_of
from aqr_exp.store.lease import TAKEN
from aqr_exp.store.store import Store
from aqr_exp.store.sweep_folder import SweepFolder

PLAN, FILE = "plan", "decision.json"
Kept = TypeVar("Kept", bound=msgspec.Struct)


class Design(msgspec.Struct, frozen=True, kw_only=True):
    """The plan of a sweep that runs until it is decided, written before its first run.

    Attributes:
        primary: The metric that decides.
        sesoi: The smallest effect of interest, in points.
        start: Seeds of each arm at the first look.
        seeds: Those of the sweep in their order; a look follows each from the one numbered `start`.
        reference: The arm that all are compared with, as runs' names begin.
        arms: The others.
    """

    sweep: str
    written: str
    primary: str
    sesoi: float
    start: int
    seeds: tuple[int, ...]
    reference: str
    arms: tuple[str, ...]

    @property
    def hash(self) -> str:
        """The SHA-256 of all of it."""
        return _sha256(self)


class ArmDecision(msgspec.Struct, frozen=True, kw_only=True):
    """What a look found of one arm; an arm that is out keeps what the look found that it went out at.

    Attributes:
        word: The verdict.
        out: Whether it gets no more seeds.
        look: Seeds of the look that this is of.
        n: Its runs that count.
        n_reference: Those of the reference.
        mean: Its mean less the reference's; None where there is none.
        low: Lower end of the interval that holds at all looks; None where noise is unknown.
        sd: Standard deviation of `mean`.
        p: Two-sided, of this look alone.
        level: That p is judged at.
    """

    word: str
    out: bool
    look: int
    n: int
    n_reference: int
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    sd: float | None = None
    p: float = 1.0
    level: float = 0.0
    degrees: float = 0.0


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """One decision.

    Attributes:
        design: The hash of the plan.
        after: The hash of the decision before; that of the plan at the first one.
        look: Seeds of each arm that was in.
        runs: The metric of each run that came in; None of those that gave none.
        missing: Why they gave none.
        metrics: The SHA-256 of their metrics files.
        arms: By arm.
    """

    design: str
    after: str
    look: int
    runs: dict[str, float | None]
    missing: dict[str, str]
    metrics: dict[str, str]
    arms: dict[str, ArmDecision]


@dataclass(frozen=True, kw_only=True)
class Decided:
    """A plan and the decisions so far, in order."""

    design: Design
    decisions: tuple[Decision, ...] = ()

    @property
    def values(self) -> dict[str, float | None]:
        """The metric of each run that a decision took in."""
        return {name: value for one in self.decisions for name, value in one.runs.items()}

    @property
    def arms(self) -> dict[str, ArmDecision]:
        """What the last decision has of each arm; none before the first one."""
        return self.decisions[-1].arms if self.decisions else {}

    @property
    def active(self) -> list[str]:
        """The arms that are not decided."""
        return [arm for arm in self.design.arms if arm not in self.arms or not self.arms[arm].out]

    @property
    def look(self) -> int | None:
        """The seeds of each arm at the next look; None when all is decided."""
        done = self.decisions[-1].look if self.decisions else self.design.start - 1
        return done + 1 if self.active and done < len(self.design.seeds) else None

    @property
    def hash(self) -> str:
        """That of the last decision, or of the plan."""
        return _sha256(self.decisions[-1]) if self.decisions else self.design.hash

    def due(self) -> list[str]:
        """The runs that the next look waits for, seed after seed."""
        if self.look is None:
            return []
        known, arms = self.values, [self.design.reference, *self.active]
        names = [f"{arm}-s{seed}" for seed in self.design.seeds[: self.look] for arm in arms]
        return [name for name in names if name not in known]


def read_decided(sweep: SweepFolder) -> Decided | None:
    """The plan and the decisions of a sweep; None of one that has no such plan.

    Raises:
        AqrExpError: A file is damaged, or does not belong to the plan.
    """
    if not sweep.decisions_dir.is_dir():
        return None
    design = _read(sweep, PLAN, Design)
    if design is None:
        return None
    decided = Decided(design=design)
    while decided.look is not None and (one := _read(sweep, str(decided.look), Decision)):
        if (one.design, one.after, one.look) != (design.hash, decided.hash, decided.look):
            path = sweep.decisions_dir / str(one.look) / FILE
            raise AqrExpError(
                f"{path} is damaged: it does not follow the plan and the decisions before"
            )
        decided = Decided(design=design, decisions=(*decided.decisions, one))
    return decided


def write_once(sweep: SweepFolder, kept: Design | Decision) -> None:
    """Write down a plan or a decision, unless another process has: then that one counts."""
    name = str(kept.look) if isinstance(kept, Decision) else PLAN
    path = sweep.decisions_dir / name
    path.parent.mkdir(parents=True, exist_ok=True)
    clear_litter(path.parent)
    draft = draft_of(path)
    try:
        draft.mkdir()
        replace_checked_json(draft / FILE, msgspec.to_builtins(kept), f"{sweep.name}/{name}")
        with contextlib.suppress(FileExistsError):
            try:
                draft.rename(path)  # onto a folder that holds anything it fails
            except OSError as error:
                if error.errno not in TAKEN:
                    raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def all_decided(store: Store) -> list[Decided]:
    """The decisions of all sweeps of a store, the newest plan last; fails as `read_decided`."""
    found = (read_decided(store.sweep(name)) for name in store.sweep_names())
    return sorted((one for one in found if one is not None), key=lambda one: one.design.written)


def decided_of(
    known: Sequence[Decided], reference: str, other: str, runs: Collection[str]
) -> Decided | None:
    """The last decisions about two arms of which all runs that they rest on are there.

    Args:
        runs: The first names of runs of the two.
    """
    for one in reversed(known):
        if one.design.reference == reference and other in one.design.arms:
            used = {run for run, value in one.values.items() if value is not None}
            ours = {run for run in used if arm_of(run) in {reference, other}}
            planned = {f"{other}-s{seed}" for seed in one.design.seeds}
            if ours <= {*runs} and planned & {*runs}:
                return one
    return None


def _read(sweep: SweepFolder, name: str, kind: type[Kept]) -> Kept | None:
    path = sweep.decisions_dir / name / FILE
    if not path.exists():
        return None
    read = read_checked_json(path, f"{sweep.name}/{name}", kind)
    if not read.verified:
        raise AqrExpError(f"{path} is damaged: it lacks its checksum")
    kept: Kept = read.value
    return kept


def _sha256(kept: msgspec.Struct) -> str:
    return hashlib.sha256(msgspec.json.encode(kept)).hexdigest()
