"""Curves of runs while they train: a metric by epoch, from their histories."""

from collections.abc import Sequence
from statistics import fmean

from aqr_exp.errors import AqrExpError
from aqr_exp.results.run_folder import RunFolder

Curve = dict[int, float]


class Curves:
    """Reads curves, each again only when its history has grown.

    Args:
        metric: Which metric.
    """

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
        found: Curve = {}
        for line in folder.read_history():
            epoch, value = line.get("epoch"), line.get(self._metric)
            known = isinstance(epoch, int) and isinstance(value, (int, float))
            if line.get("kind") == "val" and known:
                found[int(epoch)] = float(value)  # type: ignore[arg-type]
        return found
