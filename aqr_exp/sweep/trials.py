"""Trials of a search: the plan of each, and the curves of its runs while they train."""

import dataclasses
from collections.abc import Callable, Sequence
from statistics import fmean

from aqr_exp.config.load import ConfigLoader
from aqr_exp.config.schema import RunConfig
from aqr_exp.errors import AqrExpError, Fault, RequestError
from aqr_exp.files.run_name import arm_of
from aqr_exp.store.run_folder import RunFolder
from aqr_exp.sweep.expand import POINT
from aqr_exp.sweep.plan import Plan, plan_sweep
from aqr_exp.sweep.request import Overrides, SweepRequest
from aqr_exp.sweep.search import PruneRule, Search

Curve = dict[int, float]


class Curves:
    """Reads curves, each again only when its history has grown."""

    def __init__(self, metric: str) -> None:
        self._metric = metric
        self._read: dict[str, tuple[int, Curve]] = {}

    def mean(self, folders: Sequence[RunFolder]) -> Curve:
        """The mean of runs at every epoch that all of them have reached; empty of no runs."""
        curves = [self.of(folder) for folder in folders]
        reached = set.intersection(*map(set, curves)) if curves else set()
        return {epoch: fmean(curve[epoch] for curve in curves) for epoch in sorted(reached)}

    def of(self, folder: RunFolder) -> Curve:
        """One run's values by epoch, the newest of an epoch that was trained twice."""
        try:
            size = folder.history_path.stat().st_size
            if self._read.get(folder.name, (-1, {}))[0] != size:
                self._read[folder.name] = (size, self._parse(folder))
            return self._read[folder.name][1]
        except (AqrExpError, OSError):
            return {}

    def _parse(self, folder: RunFolder) -> Curve:
        lines = [line for line in folder.history_lines() if line.get("kind") == "val"]
        values = ((line.get("epoch"), line.get(self._metric)) for line in lines)
        return {
            epoch: float(value)
            for epoch, value in values
            if isinstance(epoch, int) and isinstance(value, (int, float))
        }


CURVE_KEY = "schedule.validate_every_epochs"


class TrialPlanner:
    """Plans the trials of one search.

    Raises:
        RequestError: The sweep cannot be searched.
    """

    def __init__(
        self, request: SweepRequest, expected: Callable[[RunConfig], float | None] | None = None
    ) -> None:
        search = _search(request)
        if search.pruning is not None and search.pruning.rule is PruneRule.BASELINE:
            request = dataclasses.replace(request, baseline=request.baseline or ())
        self.search = search
        self._request = dataclasses.replace(request, search=None)
        self._expected = expected
        self._loader = ConfigLoader(with_data=True, begins=True)

    def plan(self, values: Overrides) -> Plan:
        """The runs of a point, which is one override for each key of the space.

        Raises:
            RequestError: The point cannot be trained.
        """
        fixed = (*self._request.fixed, *values)
        request = dataclasses.replace(self._request, fixed=fixed)
        return plan_sweep(request, self._expected, self._loader)

    def check_space(self) -> Plan:
        """Refuse a space that reaches to what cannot be trained, before anything is proposed.

        Returns:
            The plan of one of its points.

        Raises:
            RequestError: One line for each end of a dimension that cannot be, with its file and line.
        """
        first = tuple(dimension.ends()[0] for dimension in self.search.space)
        faults: list[Fault] = []
        plans: list[Plan] = []
        for at, dimension in enumerate(self.search.space):
            for probe in dimension.probes():
                try:
                    plans.append(self.plan((*first[:at], probe, *first[at + 1 :])))
                except RequestError as error:
                    faults += error.faults
                    break  # one end is enough to say
        if faults:
            raise RequestError(*faults)
        self._check_curves(plans[-1])
        return plans[-1]

    def alike(self) -> dict[str, list[str | int]]:
        """Settings that all trials share, as the study keeps them.

        The fingerprint of one certain point represents variant, data and all that is fixed: trials
        with another one have other objectives.
        """
        plan = self.plan(tuple(dimension.ends()[0] for dimension in self.search.space))
        points = {arm_of(run.name) for run in plan.runs if POINT in run.labels}
        settings: dict[str, list[str | int]] = {"sweep": [self._request.name]}
        return {**settings, "fixed settings": sorted(points), "seeds": sorted(self._request.seeds)}

    def _check_curves(self, plan: Plan) -> None:
        """Refuse pruning where no run writes a curve, or none before its end."""
        pruning = self.search.pruning
        if pruning is None:
            return
        for run in plan.runs:
            every, epochs = run.config.schedule.validate_every_epochs, run.config.schedule.epochs
            fault = None
            if not every:
                fault = f"no run is evaluated while it trains: write {CURVE_KEY}: 1 under 'fixed'"
            # Of a single epoch nothing can be spared: a smoke preset only tries whether all runs.
            elif max(every, pruning.after_epochs) >= epochs > 1:
                fault = (
                    f"nothing is judged before the last of {epochs} epochs: lower {CURVE_KEY} "
                    f"(is {every}) or prune.after_epochs (is {pruning.after_epochs})"
                )
            if fault:
                raise RequestError(Fault("prune", None, fault, where=self._request.source))


def _search(request: SweepRequest) -> Search:
    if request.search is None:
        raise RequestError(f"{request.name}: is not a search: write strategy: optuna")
    if len(request.all_variants) != 1:
        rule = (
            f"a search has one variant, this one {len(request.all_variants)} "
            f"({', '.join(request.all_variants)}): write one sweep for each"
        )
        raise RequestError(Fault(rule=rule, where=request.source))
    return request.search
