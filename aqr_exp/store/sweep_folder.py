"""A sweep's folder: which runs it means, who works on it, and whether it is to stop."""

import contextlib
import re
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import msgspec

from aqr_exp.errors import AqrExpError, RequestError
from aqr_exp.files.atomic import replace_json
from aqr_exp.files.checksum import elsewhere, read_checked_json, replace_checked_json
from aqr_exp.files.reading import read_json
from aqr_exp.store.lease import LeaseInfo, clear_dead, hold, standing
from aqr_exp.store.run_files import Below, check_no_link
from aqr_exp.store.run_folder import utc_now

MOST_NAME_BYTES = 200


class SweepEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a sweep, as the last launcher of the sweep meant it.

    Attributes:
        overrides: What would be typed after the variant to get the same run, without the seed.
        expected_s: How long it was expected to take, in seconds.
        words: What was typed beside the sweep when it was asked for; None where that is not known.
    """

    name: Annotated[str, msgspec.Meta(pattern=r"^[^./][^/]*\Z")]
    variant: str
    overrides: tuple[str, ...]
    seed: int
    expected_s: float | None = None
    words: str | None = None

    @property
    def label(self) -> str:
        """The words to type for it."""
        return " ".join([self.variant, *self.overrides, f"seed={self.seed}"])


class _Plan(msgspec.Struct, kw_only=True):
    """The content of `plan.json`.

    Older versions kept neither removed runs nor the origin, and the name in place of a checksum that
    is bound to it.
    """

    name: str | None = None
    runs: list[SweepEntry]
    removed: list[SweepEntry] = []
    origin: str | None = None
    primary: str | None = None
    factors: list[str] = []
    arms: tuple[str, ...] | None = None


class SweepFolder:
    """The folder of one sweep; the only code that joins paths below it."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)

    @property
    def name(self) -> str:
        """The sweep's name."""
        return self.path.name

    plan_path = Below("plan.json")
    """The runs it means."""
    schedulers_dir = Below("schedulers")
    """One lease for every process that works on it."""
    cancel_path = Below("cancel.json")
    """The last request that it stops."""
    detached_log_path = Below("detached.log")
    """What launchers without a terminal printed."""
    decisions_dir = Below("decisions")
    """The plan of a sweep that runs until it is decided, and its decisions."""
    study_path = Below("study.journal")
    """The trials of a search: Optuna's journal."""
    study_log_path = Below("study.log")
    """What Optuna had to say."""
    study_lease_path = Below(".study")
    """Held by whoever changes the study, for the moment of the change."""

    @property
    def _place(self) -> str:
        return f"{self.name}/{self.plan_path.name}"

    def figure_stem(self, metric: str) -> Path:
        """The figure of a metric against what the sweep varied, without the ending of its format."""
        return self.path / metric.replace("/", "_")

    def add_to_plan(
        self,
        entries: Sequence[SweepEntry],
        origin: str | None = None,
        factors: Sequence[str] | None = None,
    ) -> None:
        """Write down runs the sweep means besides those it means already; see `write_plan`."""
        known = self.read_plan_if_any()
        names = {entry.name for entry in known}
        new = [entry for entry in entries if entry.name not in names]
        if new or not known:
            self.write_plan([*known, *new], origin, factors=factors)

    def write_plan(
        self,
        entries: Sequence[SweepEntry],
        origin: str | None = None,
        primary: str | None = None,
        factors: Sequence[str] | None = None,
        arms: tuple[str, ...] | None = None,
    ) -> None:
        """Write down the runs the sweep means from now on; those it meant before are not forgotten.

        Args:
            origin: As `SweepRequest.origin`; None keeps the one that is known, as of `primary`,
                `factors` and, in words, `arms`.
        """
        before = self._read_if_any()
        primary = before.primary if primary is None else primary
        factors = before.factors if factors is None else factors
        names = {entry.name for entry in entries}
        origin = before.origin if origin is None else origin
        check_no_link(self.path)
        self.path.mkdir(parents=True, exist_ok=True)
        plan = {
            "written": utc_now(),
            "origin": origin,
            "primary": primary,
            "factors": list(factors),
            "arms": before.arms if arms is None else arms,
            "runs": msgspec.to_builtins(entries),
            "removed": msgspec.to_builtins(
                [one for one in (*before.runs, *before.removed) if one.name not in names]
            ),
        }
        replace_checked_json(self.plan_path, plan, self._place)

    def read_plan(self) -> list[SweepEntry]:
        """The runs the sweep means.

        Raises:
            AqrExpError: The file is missing or damaged.
        """
        return self._read().runs

    def read_known(self) -> list[SweepEntry]:
        """The runs the sweep means or ever meant; none when its plan is missing or damaged."""
        plan = self._read_if_any()
        return [*plan.runs, *plan.removed]

    def read_left(self) -> list[SweepEntry]:
        """The runs the sweep meant once and means no more."""
        return self._read_if_any().removed

    def origin(self) -> str | None:
        """The origin of the sweep's last request; None where that is not known."""
        return self._read_if_any().origin

    def declared(self) -> tuple[str | None, tuple[str, ...] | None]:
        """The metric and the arms that its file declared before it ran; None where none did."""
        plan = self._read_if_any()
        return plan.primary, plan.arms

    def factors(self) -> list[str]:
        """What its file says that its arms may differ in besides their variant."""
        return self._read_if_any().factors

    def read_plan_if_any(self) -> list[SweepEntry]:
        """The runs the sweep means; none when its plan is missing or damaged."""
        return self._read_if_any().runs

    def _read_if_any(self) -> "_Plan":
        try:
            return self._read() if self.plan_path.exists() else _Plan(runs=[])
        except AqrExpError:
            return _Plan(runs=[])  # running the sweep replaces a damaged plan

    def _read(self) -> "_Plan":
        try:
            read = read_checked_json(self.plan_path, self._place, _Plan)
            plan: _Plan = read.value
            if read.verified or plan.name == self.name:
                return plan
            if plan.name is None:
                raise AqrExpError(f"{self.plan_path} is damaged: it lacks its checksum")
            raise elsewhere(self.plan_path, f"{plan.name}/{self.plan_path.name}")
        except AqrExpError as error:
            remedy = f"(running the sweep {self.name!r} again writes it anew)"
            raise AqrExpError(f"{error} {remedy}") from None

    @contextlib.contextmanager
    def registered(self) -> Iterator[None]:
        """Be seen as working on the sweep."""
        self.schedulers_dir.mkdir(parents=True, exist_ok=True)
        clear_dead(self.schedulers_dir)
        with hold(self.schedulers_dir / secrets.token_hex(8)):
            yield

    def schedulers(self) -> list[LeaseInfo]:
        """Living processes that work on the sweep."""
        if not self.schedulers_dir.is_dir():
            return []
        there = sorted(self.schedulers_dir.iterdir())
        return standing(path for path in there if re.fullmatch("[0-9a-f]{16}", path.name))

    def request_cancel(self) -> None:
        """Ask everybody who works on the sweep now to stop."""
        requested = f"{utc_now()} {secrets.token_hex(4)}"
        replace_json(self.cancel_path, {"requested": requested})

    def cancel_time(self) -> str | None:
        """The time of the last stop request, different for each; None when there was none."""
        if not self.cancel_path.exists():
            return None
        try:
            return str(read_json(self.cancel_path, follow=False).get("requested"))
        except AqrExpError:
            return None


def check_sweep_name(name: str) -> None:
    """Refuse a name that cannot be a folder's, or that a terminal would take for a command.

    Raises:
        RequestError: Names the sweep.
    """
    usable = name.isprintable() and "/" not in name and not name.startswith(".")
    if not name or not usable or len(name.encode()) > MOST_NAME_BYTES:
        raise RequestError(f"{name!r} cannot be a sweep's name: it must be able to name a folder")
