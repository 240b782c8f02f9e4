"""How much ground truth a number rests on, by class and condition."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from aqr_exp.data.classes import CLASS_NAMES
from aqr_exp.errors import AqrExpError
from aqr_exp.evaluate.conditions import CONDITIONS, RunScorer
from aqr_exp.evaluate.records import read_records
from aqr_exp.store.collect import RunRow
from aqr_exp.store.store import Store

AP = "AP/"


@dataclass(frozen=True, kw_only=True)
class TruthCounts:
    """Ground truths of the split that some runs were scored on.

    Attributes:
        classes: By class, over all of the data.
        conditions: By condition, of the classes that it can hold.
    """

    classes: Mapping[str, int] = field(default_factory=dict)
    conditions: Mapping[str, int] = field(default_factory=dict)

    def of(self, metric: str, condition: str | None) -> int | None:
        """What a metric rests on; None when it is not known.

        Args:
            metric: A metric, such as `mAP` or `AP/car`.
            condition: The part of the data; None for all of it.
        """
        if condition is not None:
            return self.conditions.get(condition)
        if metric.startswith(AP):
            return self.classes.get(metric.removeprefix(AP))
        return sum(self.classes.values()) if self.classes else None


def truth_counts(rows: Sequence[RunRow], store: Store) -> TruthCounts:
    """Count ground truth: of the classes from the metrics, of conditions from match records.

    Args:
        rows: Runs that were scored on one split.
        store: Where they are.

    Returns:
        What the first run that has it says; counts that runs disagree on are unknown.
    """
    classes: dict[str, int] = {}
    for name in CLASS_NAMES:
        found = {int(count) for row in rows if (count := row.metric(f"gt/{name}")) is not None}
        if len(found) == 1:
            classes[name] = found.pop()
    return TruthCounts(classes=classes, conditions=_of_conditions(rows, store))


def _of_conditions(rows: Sequence[RunRow], store: Store) -> dict[str, int]:
    for row in rows:
        try:
            records = read_records(store.folder(row.name).records_path)
        except AqrExpError:
            continue
        scorer = RunScorer(records)
        return {
            name: int(scorer.scores(condition).truths[0, list(condition.labels)].sum())
            for name, condition in CONDITIONS.items()
            if condition.table in records.tables
        }
    return {}
