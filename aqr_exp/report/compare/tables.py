"""A comparison as tables."""

from collections.abc import Sequence

from aqr_exp.files.suggest import some
from aqr_exp.report.arm_names import arm_labels
from aqr_exp.report.compare.comparison import Compared, Comparison
from aqr_exp.report.compare.scenes import SCENE_METRIC, SceneChange
from aqr_exp.report.tables.cells import (
    NO_VALUE,
    Cell,
    MergedColumns,
    Table,
    count_cell,
    interval_cells,
    make_columns,
    metric_cell,
    number_cell,
    text_cell,
    titled,
)
from aqr_exp.report.tables.notes import rule_notes
from aqr_exp.statistics.metrics import PRIMARY
from aqr_exp.store.collect import RunRow
from aqr_exp.store.counting import grouped

LONGEST_VALUE = 60
ELSEWHERE = "on other scenes"
NUMBERS = ("ground truth", "n A", "A", "n B", "B", "difference", "low", "high", "p")
SCENE_NUMBERS = ("samples", "ground truth", "A", "B", "difference", "seeds that agree")


def comparison_tables(found: Comparison, scenes: int) -> dict[str, Table]:
    """The blocks of a comparison by name; a block that was not requested is left out."""
    tables = {"configuration": configuration_table(found)}
    for name, what, items in (
        ("metrics", "Metrics", found.metrics),
        ("errors", "True-positive errors (lower is better)", found.errors),
        ("classes", "AP by class", found.classes),
        ("conditions", "By condition", found.conditions),
    ):
        if items:
            tables[name] = _compared_table(found, what, items, sentences=name == "metrics")
    if found.scenes.changes or found.scenes.notes:
        tables["scenes"] = scene_table(found, scenes)
    return tables


def arm_words(rows: Sequence[RunRow], label: str) -> str:
    """An arm with its identity and seeds, such as `baseline (8fe737191530), seeds 0, 1, 2`."""
    seeds = ", ".join(str(row.seed) for row in rows)
    identity = rows[0].fingerprint
    named = label if label.endswith(identity) else f"{label} ({identity})"
    return f"{named}, {'seed' if len(rows) == 1 else 'seeds'} {seeds}"


def configuration_table(found: Comparison) -> Table:
    """The keys that differ and can change the numbers, below a title that says what A and B are."""
    labels = arm_labels([found.reference[0], found.other[0]])
    ours = arm_words(found.reference, labels[0])
    theirs = arm_words(found.other, labels[1])
    notes = [] if found.configuration else ["the configurations are the same but for the seed"]
    notes += found.notes
    # A confounder has the arm's value first, then that of the arm it is compared with: B and A.
    notes += [
        f"confounded: {item.name} is {item.theirs} in A and {item.ours} in B{item.where}"
        if item.ours
        else f"confounded: {item}"
        for item in found.confounders
    ]
    return Table(
        title=f"A: {ours}; B: {theirs}; differences are B - A",
        columns=make_columns(("key", "A", "B")),
        rows=tuple(
            (text_cell(item.key), text_cell(_value(item.ours)), text_cell(_value(item.theirs)))
            for item in found.configuration
        ),
        notes=tuple(notes),
        synthetic=any(row.synthetic for row in found.rows),
    )


def _value(value: object) -> str:
    """A value on one line; of a whole part what it is, not all of it."""
    text = f"present ({len(value)} keys)" if isinstance(value, dict) else str(value)
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 3] + "..."


def _compared_table(
    found: Comparison, what: str, items: Sequence[Compared], *, sentences: bool
) -> Table:
    """One line a metric, with both means, the difference and its interval, and the verdict."""
    title, synthetic = titled(
        f"{what}: means, B - A [95 % interval], verdict; mAP, NDS and AP in points", [found.rows]
    )
    judged = [item.difference for item in items]
    notes = [*rule_notes(judged), *(one.sentence for one in judged)] if sentences else []
    by_note = grouped([one for one in judged if one.note], lambda one: one.note)
    notes += [f"{some([one.name for one in same])}: {note}" for note, same in by_note.items()]
    return Table(
        title=title,
        columns=make_columns(("metric", *NUMBERS, "verdict", ELSEWHERE), numeric=NUMBERS),
        rows=tuple(_compared_cells(item) for item in items),
        notes=tuple(notes),
        synthetic=synthetic,
        merged_columns=(MergedColumns(value="difference", low="low", high="high"),),
        block_rules=False,
    )


def _compared_cells(item: Compared) -> tuple[Cell, ...]:
    one = item.difference
    return (
        text_cell(one.name),
        NO_VALUE if item.truths is None else count_cell(item.truths),
        count_cell(item.reference.n),
        metric_cell(one.metric, item.reference.mean),
        count_cell(item.other.n),
        metric_cell(one.metric, item.other.mean),
        *interval_cells(one.metric, one.mean, one.low, one.high, signed=True),
        number_cell(one.p, decimals=3),
        text_cell(one.word),
        text_cell(one.on_other_scenes) if one.on_other_scenes else NO_VALUE,
    )


def scene_table(found: Comparison, count: int) -> Table:
    """The scenes that changed most."""
    changes = found.scenes.changes
    title, synthetic = titled(
        f"Scenes that changed most: {SCENE_METRIC} in points, {min(count, len(changes))} of {len(changes)}",
        [found.rows],
    )
    notes = list(found.scenes.notes)
    if changes:
        notes.append(
            "a scene holds few boxes: read a change as real only where the seeds agree, and the largest "
            "of many changes with care"
        )
    return Table(
        title=title,
        columns=make_columns(("scene", *SCENE_NUMBERS, "description"), numeric=SCENE_NUMBERS),
        rows=tuple(_scene_cells(change) for change in changes[:count]),
        notes=tuple(notes),
        synthetic=synthetic,
    )


def _scene_cells(change: SceneChange) -> tuple[Cell, ...]:
    agree = text_cell(f"{change.agreeing} of {change.pairs}") if change.pairs else NO_VALUE
    return (
        text_cell(change.scene),
        count_cell(change.samples),
        count_cell(change.truths),
        *(metric_cell(PRIMARY, each) for each in (change.reference, change.other)),
        metric_cell(PRIMARY, change.difference, signed=True),
        agree,
        text_cell(change.description),
    )
