"""Rows of runs as a store would hold them."""

from typing import Any

from aqr_exp.store.collect import RunRow
from aqr_exp.store.status import RunStatus

HARDWARE = {
    "processor": "AMD EPYC",
    "host": "one",
    "gpus": [],
    "cpus": 2,
    "device": "auto",
    "threads": 2,
    "loader_workers": 1,
}


def run_row(seed: int, mean_ap: float | None, **changes: Any) -> RunRow:
    """A completed run; metrics by their name, anything of the record or the row by its own.

    What `also` holds comes into the record besides.
    """
    record = {
        "variant": "baseline",
        "fingerprint": "0123456789ab",
        "preset": "quick",
        "seed": seed,
        "overrides": [],
        "setting": "a setting",
        "hardware": HARDWARE,
    }
    record |= {name: changes.pop(name) for name in list(changes) if name in record}
    record |= changes.pop("also", {})
    row = {
        "name": f"{record['variant']}-{record['fingerprint']}-s{seed}",
        "status": "completed",
        "updated": f"2026-01-0{seed + 1}",
        "attempt": 1,
        "reason": None,
    }
    row |= {name: changes.pop(name) for name in list(changes) if name in row}
    metrics = {"mAP": mean_ap, "NDS": 0.25, "split": "synth_val", "synthetic": True} | changes
    return RunRow(record=record, metrics=metrics, **row | {"status": RunStatus(row["status"])})
