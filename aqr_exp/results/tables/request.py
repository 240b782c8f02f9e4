"""What somebody wants of a table."""

from collections.abc import Sequence
from dataclasses import dataclass

from aqr_exp.results.tables.quantities import By


@dataclass(frozen=True, kw_only=True)
class TableRequest:
    """The options of `aqr-exp table`.

    Attributes:
        by: What a block is.
        metrics: Metric names; None takes the usual ones.
        where: Conditions that runs must meet.
        sweep: The sweep whose runs are shown; None shows all.
        factors: What two arms may differ in besides their variant.
        baseline: The arm that all others are compared with; None takes each arm's own baseline.
        strict: Whether a confounded comparison is refused.
        sort: A column, `-` in front for the other order; None keeps settings together.
        references: Whether published numbers are shown.
        trace: Whether the table says which runs and files stand behind its cells.
        at_epoch: `last-common` or an epoch; None takes the metrics of record.
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
