"""Metrics of arms with their intervals, as figures draw them: each is looked up once."""

from collections.abc import Sequence

from aqr_exp.results.collect import RunRow
from aqr_exp.results.inference.estimates import Interval
from aqr_exp.results.store import Store


class Means:
    """Means of arms and their intervals.

    Args:
        store: Where the arms' runs are, and what was computed before.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[tuple[str, ...], Interval] = {}

    def of(self, group: Sequence[RunRow], metric: str) -> Interval:
        """The mean of a metric over an arm's seeds.

        Args:
            group: The arm's runs, one a seed.
            metric: Its name, such as `mAP`, `AP/car` or `mAP@night`.

        Raises:
            RequestError: There is no such condition.
        """
        from aqr_exp.results.inference.differences import arm_interval

        key = (metric, *(row.name for row in group))
        if key not in self._known:
            name, _, condition = metric.partition("@")
            self._known[key] = arm_interval(group, name, condition or None, store=self._store)
        return self._known[key]
