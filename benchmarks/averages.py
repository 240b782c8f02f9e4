"""Do averaged metrics scatter less over seeds than those of record?

    python benchmarks/averages.py ARM [ARM ...]

Arms are names as far as `-s<seed>`, in the results folder. Those that are named are taken for one: arms
that train the same way under several names, such as the first two of the sweep `instrument`. The interval
of a ratio of standard deviations is that of two correlated variances (Pitman 1939, Morgan 1939), because
both are of the same runs.
"""

import sys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from aqr_exp.statistics.metrics import MAIN_METRICS, is_averaged
from aqr_exp.store.collect import collect
from aqr_exp.store.store import Store, results_root

Values = NDArray[np.float64]


def sd_interval(values: Values, level: float = 0.95) -> tuple[float, float]:
    """The interval of a normal standard deviation."""
    free = len(values) - 1
    squares = free * values.var(ddof=1)
    low, high = (squares / stats.chi2.ppf((1 + sign * level) / 2, free) for sign in (1, -1))
    return float(low**0.5), float(high**0.5)


def ratio_interval(
    reference: Values, other: Values, level: float = 0.95
) -> tuple[float, float, float]:
    """The ratio of the other's standard deviation to the reference's [N], and its interval."""
    free = len(reference) - 2
    ratio = other.var(ddof=1) / reference.var(ddof=1)
    unlike = 1 - np.corrcoef(reference, other)[0, 1] ** 2
    wide = 1 + 2 * unlike * stats.t.ppf((1 + level) / 2, free) ** 2 / free
    spread = wide + (wide**2 - 1) ** 0.5
    return float(ratio**0.5), float((ratio / spread) ** 0.5), float((ratio * spread) ** 0.5)


def main(arms: Sequence[str]) -> None:
    """Print mean, standard deviation and ratio of each metric of the arms' completed runs."""
    rows = [
        row
        for row in collect(Store(results_root()))
        if row.completed and row.name.rpartition("-s")[0] in arms
    ]
    if len(rows) < 3:
        sys.exit(f"{len(rows)} completed runs of {', '.join(arms)}: an interval takes three")
    print(f"{len(rows)} runs; points")
    for main_metric in MAIN_METRICS:
        names = [
            name
            for name in rows[0].metrics
            if is_averaged(name) and name.startswith(f"{main_metric}_")
        ]
        record = np.array([100.0 * row.metrics[main_metric] for row in rows], np.float64)
        for name in (main_metric, *names):
            values = np.array([100.0 * row.metrics[name] for row in rows], np.float64)
            low, high = sd_interval(values)
            line = f"{name:10} {values.mean():6.2f}  sd {values.std(ddof=1):.2f} [{low:.2f}, {high:.2f}]"
            if name != main_metric:
                ratio, low, high = ratio_interval(record, values)
                line += f"  sd over that of record {ratio:.2f} [{low:.2f}, {high:.2f}]"
            print(line)


if __name__ == "__main__":
    main(sys.argv[1:])
