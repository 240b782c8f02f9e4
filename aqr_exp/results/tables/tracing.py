"""`--trace`: for every cell the runs, files and hashes that stand behind it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from aqr_exp.results.collect import RunRow
from aqr_exp.results.store import Store
from aqr_exp.results.tables.cells import Row, Table
from aqr_exp.results.tables.study import Arm, Study
from aqr_exp.results.trace import RunTrace, trace_rows

# Cells of these columns come from the runs of the arm and of what it is compared with.
OF_BOTH = ("difference", "verdict", "time / baseline", "confounders")


def with_trace(table: Table, study: Study, store: Store) -> Table:
    """The table with its trace: as text among the notes, and as a structure for programs.

    Args:
        table: The measured lines, in their final order.
        study: The arms behind them.
        store: Where their files are.
    """
    arms = {_key(arm.first): arm for arm in study.arms}
    lines = [arms[_key_of_line(table.columns, row)] for row in table.rows]
    rows = _rows_of(study)
    shown = list(dict.fromkeys(item.metric for item in study.quantities))
    runs = trace_rows(list(rows.values()), store, shown)
    structure = {
        "cells": [
            {"line": index, "arm": arm.name, "columns": _columns(table.columns, arm)}
            for index, arm in enumerate(lines)
        ],
        "runs": {run.name: run.as_json() for run in runs},
    }
    notes = [*map(_arm_note, dict.fromkeys(arm.name for arm in lines), _distinct(lines))]
    notes += [note for run in runs for note in _run_notes(run)]
    return replace(table, trace=structure, notes=(*table.notes, *notes))


def _distinct(lines: Sequence[Arm]) -> list[Arm]:
    return list({arm.name: arm for arm in lines}.values())


def _rows_of(study: Study) -> dict[str, RunRow]:
    """Every run that any cell comes from, by name."""
    return {
        row.name: row for arm in study.arms for row in (*arm.group, *(arm.opponent.group or ()))
    }


def _key(row: RunRow) -> tuple[str, str, str]:
    return row.variant, row.fingerprint, row.data


def _key_of_line(columns: Sequence[str], row: Row) -> tuple[str, str, str]:
    texts = {name: cell.text for name, cell in zip(columns, row, strict=True)}
    return texts["variant"], texts["identity"], texts["data"]


def _columns(columns: Sequence[str], arm: Arm) -> Mapping[str, Any]:
    """By column, the runs behind the arm's cell in it."""
    own = [row.name for row in arm.group]
    theirs = [row.name for row in arm.opponent.group or ()]
    return {
        name: {"runs": own, **({"baseline_runs": theirs} if _is_of_both(name) and theirs else {})}
        for name in columns
    }


def _is_of_both(column: str) -> bool:
    return any(part in column for part in OF_BOTH)


def _arm_note(name: str, arm: Arm) -> str:
    own = ", ".join(row.name for row in arm.group)
    text = f"trace: every cell of {name} is of {own}"
    if arm.opponent.group is None:
        return text
    theirs = ", ".join(row.name for row in arm.opponent.group)
    return f"{text}; difference, verdict and time also of {theirs}"


def _run_notes(run: RunTrace) -> list[str]:
    code = (
        f"code {run.commit[:12]}{' modified' if run.modified else ''}"
        if run.commit
        else "code installed"
    )
    head = f"trace: {run.name}: attempt {run.attempt}, {code}"
    files = [
        f"trace: {run.name}/{file.path}: {file.size_bytes} bytes, sha256 {file.sha256 or 'not readable'}"
        for file in run.files
    ]
    return [head, *files]
