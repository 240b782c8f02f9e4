"""Runs, means and comparisons as pandas DataFrames; the tables of the command line say the same."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aqr_exp.errors import AqrExpError, RequestError
from aqr_exp.results.arm_labels import arm_labels
from aqr_exp.results.collect import RunRow, collect
from aqr_exp.results.selection import one_arm, selected
from aqr_exp.results.store import Store, results_root
from aqr_exp.results.tables.arms import check_metric_names, group_seeds

if TYPE_CHECKING:
    import pandas as pd

    from aqr_exp.results.comparison.comparison import Compared, Comparison
    from aqr_exp.results.comparison.scene_changes import SceneChange

RUN_COLUMNS = (
    "status",
    "reason",
    "variant",
    "fingerprint",
    "preset",
    "seed",
    "overrides",
    "split",
    "synthetic",
    "attempt",
)


def store_at(results: str | Path | None) -> Store:
    """The store at a folder; the command line's by default."""
    return Store(results_root() if results is None else Path(results).expanduser().absolute())


def runs_frame(results: str | Path | None, *, configuration: bool) -> "pd.DataFrame":
    """As `aqr_exp.results.load`."""
    import pandas as pd

    store = store_at(results)
    rows = collect(store)
    values = [_run_values(row) for row in rows]
    if configuration:
        values = [one | _configuration(store, row) for one, row in zip(values, rows, strict=True)]
    index = pd.Index([row.name for row in rows], name="run")
    columns = list(dict.fromkeys([*RUN_COLUMNS, *(name for one in values for name in one)]))
    frame = pd.DataFrame(values, index=index, columns=columns)
    # A missing seed must not make the others fractions.
    return frame.astype({"seed": "Int64", "attempt": "Int64"})


def _run_values(row: RunRow) -> dict[str, Any]:
    scored = bool(row.metrics)
    facts = {
        "status": row.status,
        "reason": row.reason,
        "variant": row.variant,
        "fingerprint": row.fingerprint,
        "preset": row.preset,
        "seed": row.seed,
        "overrides": row.overrides,
        "split": row.metrics.get("split"),
        "synthetic": row.synthetic if scored else None,
        "attempt": row.attempt,
    }
    numbers = {
        name: value
        for name in row.metrics
        if name not in facts and (value := row.metric(name)) is not None
    }
    return facts | numbers


def _configuration(store: Store, row: RunRow) -> dict[str, Any]:
    """A run's configuration; none where its file is damaged, which `status` need not know."""
    from aqr_exp.results.plots.swept import flat

    try:
        spec = store.folder(row.name).read_spec()
    except AqrExpError:
        return {}
    return {f"config.{key}": value for key, value in flat(spec).items()}


def means_frame(
    results: str | Path | None, metrics: Sequence[str], of: Sequence[str]
) -> "pd.DataFrame":
    """As `aqr_exp.results.table`."""
    import pandas as pd

    from aqr_exp.results.inference.differences import arm_interval

    store = store_at(results)
    rows = selected(collect(store), of, store=store)
    check_metric_names([name.partition("@")[0] for name in metrics], rows)
    groups, _ = group_seeds(rows)
    values = []
    for group, label in zip(groups, arm_labels([group[0] for group in groups]), strict=True):
        first = group[0]
        for metric in metrics:
            name, _, condition = metric.partition("@")
            interval = arm_interval(group, name, condition or None, store=store)
            values.append(
                {
                    "arm": label,
                    "metric": metric,
                    "variant": first.variant,
                    "fingerprint": first.fingerprint,
                    "overrides": first.overrides,
                    "split": first.metrics.get("split"),
                    "synthetic": first.synthetic,
                    **_interval_values(interval),
                }
            )
    columns = ["arm", "metric", "variant", "fingerprint", "overrides", "split", "synthetic"]
    frame = pd.DataFrame(values, columns=[*columns, *_INTERVAL])
    return frame.set_index(["arm", "metric"])


_INTERVAL = ("n", "mean", "sd", "low", "high", "method", "note")


def _interval_values(interval: Any) -> dict[str, Any]:
    return {name: getattr(interval, name) for name in _INTERVAL}


def comparison_frame(
    reference: str,
    other: str,
    results: str | Path | None,
    *,
    by: Sequence[str],
    metrics: Sequence[str],
    resamples: int,
) -> "pd.DataFrame":
    """As `aqr_exp.results.compare`."""
    from aqr_exp.results.comparison.comparison import PARTS, Request, compare_two
    from aqr_exp.results.inference.resampling import Resampling

    unknown = [part for part in by if part not in PARTS]
    if unknown:
        raise RequestError(f"by: unknown part '{unknown[0]}' (available: {', '.join(PARTS)})")
    store = store_at(results)
    rows = collect(store)
    arms = [one_arm(rows, name) for name in (reference, other)]
    names = tuple(metrics) or Request.metrics
    check_metric_names(names, [row for arm in arms for row in arm])
    request = Request(
        metrics=names,
        errors=not metrics,
        parts=tuple(by),
        settings=Resampling(resamples=resamples),
    )
    return as_frame(compare_two(*arms, store=store, request=request))


def as_frame(found: "Comparison") -> "pd.DataFrame":
    """A comparison, one row a number."""
    import pandas as pd

    from aqr_exp.results.comparison.comparison import CLASS, CONDITION, METRIC

    values = [
        _compared_values(part, item)
        for part, items in (
            (METRIC, (*found.metrics, *found.errors)),
            (CLASS, found.classes),
            (CONDITION, found.conditions),
        )
        for item in items
    ]
    values += [_scene_values(change) for change in found.scenes.changes]
    counts = dict.fromkeys(("ground_truth", "pairs", "agreeing"), "Int64")
    return pd.DataFrame(values, columns=list(_COMPARED)).astype(counts)


_COMPARED = (
    "part",
    "name",
    "condition",
    "ground_truth",
    "reference",
    "other",
    "difference",
    "low",
    "high",
    "p",
    "p_holm",
    "verdict",
    "sentence",
    "pairs",
    "agreeing",
)


def _compared_values(part: str, item: "Compared") -> dict[str, Any]:
    difference = item.verdict.difference
    return {
        "part": part,
        "name": item.metric,
        "condition": item.condition,
        "ground_truth": item.truths,
        "reference": item.reference.mean,
        "other": item.other.mean,
        "difference": difference.mean,
        "low": difference.low,
        "high": difference.high,
        "p": difference.p,
        "p_holm": item.verdict.p_holm,
        "verdict": item.verdict.word,
        "sentence": item.verdict.sentence,
        "pairs": difference.n_pairs,
    }


def _scene_values(change: "SceneChange") -> dict[str, Any]:
    return {
        "part": "scene",
        "name": change.scene,
        "ground_truth": change.truths,
        "reference": change.reference,
        "other": change.other,
        "difference": change.difference,
        "pairs": change.pairs,
        "agreeing": change.agreeing,
    }
