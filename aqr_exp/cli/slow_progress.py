"""Progress of what may be over at once: shown only after it has taken a while."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from aqr_exp.cli.progress import counted_progress

if TYPE_CHECKING:
    from aqr_exp.evaluate.conditions import Condition
    from aqr_exp.results.collect import RunRow
    from aqr_exp.results.store import Store

QUIET_S = 2.0


@contextmanager
def slow_progress() -> Iterator[Callable[[str, int, int], None]]:
    """Show how many of how many are done, two seconds after the first was told.

    Yields:
        A function of (what, done, total).
    """
    shown: dict[str, Callable[[int, int], None]] = {}
    started: dict[str, float] = {}
    with ExitStack() as stack:

        def progress(what: str, done: int, total: int) -> None:
            if what not in shown:
                if time.monotonic() - started.setdefault(what, time.monotonic()) < QUIET_S:
                    return
                shown[what] = stack.enter_context(counted_progress(what))
            shown[what](done, total)

        yield progress


def resample_ahead(
    rows: "Sequence[RunRow]", conditions: "Sequence[Condition]", store: "Store"
) -> None:
    """Compute what intervals of these runs need, with one account of progress.

    Args:
        rows: Runs; those without metrics are passed over.
        conditions: Parts of the data.
        store: Where the runs are.
    """
    from aqr_exp.results.inference.differences import DEFAULT
    from aqr_exp.results.inference.run_scores import prepare

    completed = [row for row in rows if row.completed]
    with slow_progress() as show:
        prepare(
            completed,
            conditions,
            store=store,
            settings=DEFAULT,
            progress=lambda done, total: show("resamples", done, total),
        )
