"""The options of a table, and the quantities it shows: metrics of the whole split or of a part of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from aqr_exp.errors import RequestError
from aqr_exp.files.suggest import did_you_mean
from aqr_exp.statistics.grouping import Group, check_metric_names, classes_of
from aqr_exp.statistics.metrics import MAIN_METRICS, POPULATIONS, SESOI_POINTS, VAL, metric_name
from aqr_exp.store.collect import MEAN_METRICS, RunRow

if TYPE_CHECKING:
    from aqr_exp.statistics.resampling import Resampling


class By(str, Enum):
    """The blocks of a table."""

    ARM = "arm"
    METRIC = "metric"
    CLASS = "class"
    CONDITION = "condition"
    RANGE = "range"
    FAILURE = "failure"
    COST = "cost"


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """A metric, of all data or of a part.

    Attributes:
        metric: Its name in `metrics.json`.
        condition: The part of the data; None is all.
    """

    metric: str
    condition: str | None = None

    @property
    def name(self) -> str:
        """As it is written and typed: `mAP`, `AP/car`, `NDS@night`."""
        return metric_name(self.metric, self.condition)


def _conditions(*, bands: bool) -> list[str]:
    """The range bands, near to far, or the other parts of the data."""
    from aqr_exp.evaluate.conditions import CONDITIONS
    from aqr_exp.evaluate.records import BANDS_M

    return [name for name in CONDITIONS if (name in BANDS_M) == bands]


def quantities(
    by: By, names: Sequence[str] | None, rows: Sequence[RunRow], groups: Sequence[Group]
) -> list[Quantity]:
    """The quantities of a table.

    Args:
        names: Metric names as they were typed; None takes the usual ones.

    Raises:
        RequestError: No run has a metric of that name, or there is no such part of the data.
    """
    if by is By.CLASS:
        if names:
            raise RequestError(
                "--metrics and --by class cannot be used together: the latter shows AP"
            )
        return [Quantity(metric=f"AP/{name}") for name in classes_of(groups)]
    usual = {By.METRIC: MEAN_METRICS, By.FAILURE: ("NDS",)}.get(by, MAIN_METRICS)
    asked = [read_quantity(name) for name in dict.fromkeys(names or usual)]
    check_metric_names([item.metric for item in asked], rows)
    if by not in {By.CONDITION, By.RANGE, By.FAILURE}:
        return asked
    if any(item.condition for item in asked):
        raise RequestError(f"--by {by.value} gives the parts: name metrics without @")
    if by is By.FAILURE:
        return asked
    parts = _conditions(bands=by is By.RANGE)
    return [Quantity(metric=item.metric, condition=part) for part in parts for item in asked]


def read_quantity(name: str) -> Quantity:
    """A metric as it is typed.

    Raises:
        RequestError: Its condition is unknown.
    """
    from aqr_exp.evaluate.conditions import CONDITIONS

    metric, at, condition = name.partition("@")
    if not at:
        return Quantity(metric=metric)
    if condition not in CONDITIONS:
        raise RequestError(
            f"unknown condition '{condition}' in '{name}'{did_you_mean(condition, CONDITIONS)} "
            f"(available: {', '.join(CONDITIONS)})"
        )
    return Quantity(metric=metric, condition=condition)


@dataclass(frozen=True, kw_only=True)
class TableRequest:
    """The options of `aqr-exp table`: those of `aqr_exp.results.table`, and more.

    Attributes:
        strict: Whether a confounded comparison is refused.
        references: Whether published numbers are shown.
        trace: Whether the table names the runs and files behind its cells.
        population: See `Resampling`, as `paired` and, in points, `sesoi_points`.
    """

    by: By = By.ARM
    metrics: Sequence[str] | None = None
    where: Sequence[str] = ()
    sweep: str | None = None
    factors: Sequence[str] = ()
    baseline: str | None = None
    strict: bool = False
    sort: str | None = None
    references: bool = False
    trace: bool = False
    at_epoch: str | None = None
    population: str = VAL
    sesoi_points: float = SESOI_POINTS
    paired: bool = False

    @property
    def settings(self) -> "Resampling":
        """Those of intervals and verdicts."""
        return question(self.population, self.sesoi_points, paired=self.paired)


def question(population: str, sesoi_points: float, *, paired: bool, **draws: int) -> "Resampling":
    """The settings of intervals and verdicts.

    Raises:
        RequestError: There is no such population, or the effect is not between 0 and 100 points.
    """
    from aqr_exp.statistics.resampling import Resampling as Settings

    if population not in POPULATIONS:
        guess = did_you_mean(population, POPULATIONS)
        known = ", ".join(POPULATIONS)
        raise RequestError(f"population: '{population}'{guess} (available: {known})")
    if not 0 < sesoi_points < 100:
        raise RequestError(f"sesoi: {sesoi_points:g} is not between 0 and 100 points")
    return Settings(population=population, sesoi=sesoi_points / 100, paired=paired, **draws)
