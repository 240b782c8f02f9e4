"""How many ground-truth boxes stand behind a number: a metric of three boxes says little."""

from collections.abc import Mapping

from aqr_exp.errors import AqrExpError
from aqr_exp.report.tables.arms import Group
from aqr_exp.report.tables.request import Quantity
from aqr_exp.store.collect import RunRow
from aqr_exp.store.store import Store

CLASS_AP = "AP/"


class Truths:
    """Counts ground truths, those of conditions from match records.

    Args:
        store: Where the records are; without it those of conditions are not known.
    """

    def __init__(self, store: Store | None = None) -> None:
        self._store = store
        self._read: dict[str, Mapping[str, Mapping[str, float]]] = {}

    def of(self, group: Group, item: Quantity) -> set[int]:
        """The numbers of ground truths that the runs were measured on: one, unless they differ.

        Args:
            group: An arm's runs.
            item: What was measured: for an AP the boxes of its class count, else all.
        """
        found = (self._count(row, item) for row in group)
        return {count for count in found if count is not None}

    def _count(self, row: RunRow, item: Quantity) -> int | None:
        counts = self._by_class(row, item.condition)
        if item.metric.startswith(CLASS_AP):
            count = counts.get(f"gt/{item.metric.removeprefix(CLASS_AP)}")
            return None if count is None else int(count)
        given = [value for name, value in counts.items() if name.startswith("gt/")]
        return int(sum(given)) if given else None

    def _by_class(self, row: RunRow, condition: str | None) -> Mapping[str, float]:
        if condition is None:
            return {name: row.metric(name) or 0.0 for name in row.metrics if name.startswith("gt/")}
        # Runs of one digest have the same boxes; those of another are read.
        key = str(row.metrics.get("records_sha256", row.name))
        if key not in self._read:
            self._read[key] = self._of_records(row)
        return self._read[key].get(condition, {})

    def _of_records(self, row: RunRow) -> Mapping[str, Mapping[str, float]]:
        if self._store is None:
            return {}
        from aqr_exp.evaluate.conditions import condition_metrics
        from aqr_exp.evaluate.records import read_records

        try:
            return condition_metrics(read_records(self._store.folder(row.name).records_path))
        except AqrExpError:
            return {}
