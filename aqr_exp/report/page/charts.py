"""Charts of a report, as Vega-Lite specifications: the same numbers as the table's."""

import json
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

from aqr_exp.report.figures.differences_figure import leads, shown_value
from aqr_exp.report.figures.style import COLOURS, metric_label
from aqr_exp.report.figures.training_curves import ArmCurves, Series, smoothed
from aqr_exp.report.tables.comparison_data import ComparisonData

MOST_POINTS = 120
"""Of a training curve."""
ROW_HEIGHT = 34
"""Of an arm, in pixels."""

Spec = dict[str, Any]


def forest_chart(data: ComparisonData, labels: Mapping[str, str], primary: str) -> Spec | None:
    """Differences with simultaneous intervals, seeds as dots, detectable effects shaded.

    Args:
        labels: Names of the arms, by that of their first run.
        primary: The metric that is shown at first.

    Returns:
        The specification; None where no arm has a difference.
    """
    import altair as alt

    rows: list[dict[str, Any]] = []
    seeds: list[dict[str, Any]] = []
    for arm in data.arms:
        for name, one in arm.estimates.differences.items():
            if one.mean is None:
                continue
            of = {"arm": labels[arm.first.name], "metric": name}
            numbers = {"mean": one.mean, "low": one.low, "high": one.high, "mde": one.mde}
            known = {
                key: None if value is None or not isfinite(value) else shown_value(name, value)
                for key, value in numbers.items()
            }
            known["least"] = None if known["mde"] is None else -known["mde"]
            rows.append({**of, **known, "verdict": one.word, "p": one.p})
            seeds += [{**of, "lead": lead} for lead in leads(data, arm, one, name)]
    if not rows:
        return None
    metrics = list(dict.fromkeys(row["metric"] for row in rows))
    first = primary if primary in metrics else metrics[0]
    labelled = json.dumps({name: metric_label(name) for name in metrics})
    title = {"expr": f"{labelled}[metric] + ': difference to the reference'"}
    chosen = alt.param(
        name="metric", value=first, bind=alt.binding_radio(options=metrics, name="Metric: ")
    )
    arms = alt.Y("arm:N", title=None, sort=list(labels.values()), axis=alt.Axis(labelLimit=260))
    whole = alt.Chart(alt.InlineData(values=rows)).transform_filter("datum.metric == metric")
    tips = [alt.Tooltip(f"{name}:N") for name in ("arm", "metric", "verdict")] + [
        alt.Tooltip(f"{name}:Q", format=form)
        for name, form in (("mean", "+.2f"), ("low", "+.2f"), ("high", "+.2f"), ("p", ".3f"))
    ]
    across = alt.X("mean:Q", title=None)
    shade = whole.mark_bar(opacity=0.18, color="#888888", height=24).encode(
        x="least:Q", x2="mde:Q", y=arms
    )
    bars = whole.mark_rule(strokeWidth=2, color=COLOURS[0]).encode(
        x="low:Q", x2="high:Q", y=arms, tooltip=tips
    )
    means = whole.mark_point(size=70, color=COLOURS[0], shape="diamond", strokeWidth=2).encode(
        x=across,
        y=arms,
        tooltip=tips,
        fill=alt.condition(
            "datum.verdict == 'better' || datum.verdict == 'worse'",
            alt.value(COLOURS[0]),
            alt.value("transparent"),
        ),
    )
    dots = (
        alt.Chart(alt.InlineData(values=seeds))
        .transform_filter("datum.metric == metric")
        .mark_circle(size=22, color=COLOURS[1], opacity=1)
        .encode(x="lead:Q", y=arms, yOffset=alt.value(9))
    )
    zero = (
        alt.Chart(alt.InlineData(values=[{"at": 0}]))
        .mark_rule(color="#888888")
        .encode(x=alt.X("at:Q"))
    )
    height = ROW_HEIGHT * len({row["arm"] for row in rows})
    chart = alt.layer(shade, zero, bars, dots, means).properties(width="container", height=height)
    return {**chart.add_params(chosen).to_dict(), "title": {"text": title, "anchor": "start"}}


def curve_chart(arms: Sequence[ArmCurves], kind: str, name: str, title: str) -> Spec | None:
    """A scalar over epochs, one line a seed; a click in the legend shows an arm alone.

    Args:
        kind: As `RunCurves.series`.

    Returns:
        The specification; None where no run has the scalar.
    """
    import altair as alt

    values = []
    for arm in arms:
        for run in arm.runs:
            curve = run.series(kind, name)
            if curve:
                epochs, points = _thinned(curve)
                line = [shown_value(name, point) for point in points]
                of = {"arm": arm.label, "run": run.row.name, "seed": run.row.seed}
                values.append({**of, "epoch": epochs, "value": line})
    if not values:
        return None
    picked = alt.selection_point(fields=["arm"], bind="legend", name="picked")
    names = alt.Legend(orient="top", columns=4, labelLimit=240)
    colours = alt.Scale(range=list(COLOURS), domain=[arm.label for arm in arms])
    chart = (
        alt.Chart(alt.InlineData(values=values))
        .transform_flatten(["epoch", "value"])
        .mark_line(strokeWidth=1.3, point=kind == "val")
        .encode(
            x=alt.X("epoch:Q"),
            y=alt.Y("value:Q", title=title, scale=alt.Scale(zero=False)),
            color=alt.Color("arm:N", title=None, scale=colours, legend=names),
            detail="run:N",
            opacity=alt.condition(picked, alt.value(0.9), alt.value(0.06)),
            tooltip=["arm:N", "seed:N", alt.Tooltip("epoch:Q", format=".2f"), "value:Q"],
        )
        .properties(width="container", height=220)
        .add_params(picked)
    )
    return dict(chart.to_dict())


def _thinned(curve: Series) -> tuple[list[float], list[float]]:
    """At most `MOST_POINTS` of a curve, each the mean of those around it."""
    step = -(-len(curve) // MOST_POINTS)
    kept = smoothed(curve, step)
    epochs = sorted(kept)[::step]
    return [round(at, 4) for at in epochs], [float(f"{kept[at]:.5g}") for at in epochs]
