from aqr_exp.report.figures.swept import swept_keys
from aqr_exp.store.collect import RunRow
from aqr_exp.store.status import RunStatus
from aqr_exp.store.sweep_folder import SweepEntry
from aqr_exp.sweep.outcome import best_point, by_entry
from aqr_exp.sweep.search import Direction


def entry(variant: str, arm: str, seed: int, *overrides: str) -> SweepEntry:
    return SweepEntry(
        name=f"{variant}-{arm}-s{seed}", variant=variant, overrides=overrides, seed=seed
    )


def row(name: str, value: float | None, status: str = "completed") -> RunRow:
    metrics = {} if value is None else {"mAP": value, "split": "val"}
    return RunRow(name=name, status=RunStatus(status), metrics=metrics, verified=True)


ENTRIES = [
    entry("baseline", "b", 0, "preset=smoke"),
    entry("attention_bias", "c", 0, "preset=smoke", "bias_scale=1"),
    entry("attention_bias", "d", 0, "preset=smoke", "bias_scale=2"),
    entry("attention_bias", "e", 0, "preset=smoke", "bias_scale=4"),
    entry("baseline", "b", 1, "preset=smoke"),
    entry("attention_bias", "c", 1, "preset=smoke", "bias_scale=1"),
    entry("attention_bias", "d", 1, "preset=smoke", "bias_scale=2"),
    entry("attention_bias", "e", 1, "preset=smoke", "bias_scale=4"),
]
VALUES = {
    "baseline-b-s0": 0.5,
    "baseline-b-s1": 0.52,
    "attention_bias-c-s0": 0.3,
    "attention_bias-c-s1": 0.4,
    "attention_bias-d-s0": 0.41,
    "attention_bias-d-s1": 0.31,
    # The largest of all, but one of its seeds was given up.
    "attention_bias-e-s0": 0.9,
}


def rows() -> dict[str, RunRow]:
    found = {name: row(name, value) for name, value in VALUES.items()}
    return found | {"attention_bias-e-s1": row("attention_bias-e-s1", None, "pruned")}


def test_the_best_point_has_the_best_mean_of_whole_points() -> None:
    best = best_point(ENTRIES, rows(), "mAP")
    assert best is not None
    assert best.words() == (
        "best of 2 points by mAP: attention_bias bias_scale=2: 0.3600, mean of 2 seeds "
        "(baseline 0.5100); 1 more is not complete\n"
        "selected on val, the data it is reported on: a selected maximum is biased "
        "upwards; `aqr-exp confirm` estimates by how much, on fresh seeds"
    )


def test_the_smallest_can_be_the_best() -> None:
    best = best_point(ENTRIES, rows(), "mAP", Direction.MINIMIZE)
    assert best is not None
    assert (best.label, round(best.mean, 6)) == ("attention_bias bias_scale=1", 0.35)


def test_nothing_complete_has_no_best() -> None:
    assert best_point(ENTRIES, {}, "mAP") is None
    assert best_point(ENTRIES, rows(), "NDS") is None


def test_baselines_alone_are_points() -> None:
    entries = [entry("baseline", "b", 0), entry("baseline", "f", 0, "schedule.epochs=2")]
    found = {item.name: row(item.name, 0.1 + at) for at, item in enumerate(entries)}
    best = best_point(entries, found, "mAP")
    assert best is not None
    assert (best.label, best.candidates, best.baseline) == ("baseline schedule.epochs=2", 2, None)


def test_what_a_sweep_varied() -> None:
    assert swept_keys(ENTRIES) == ["bias_scale"]
    both = [
        entry("attention_bias", str(at), 0, f"bias_scale={at % 2}", f"window_size={at}", "preset=a")
        for at in range(4)
    ]
    assert swept_keys(both) == ["window_size", "bias_scale"]
    variants = [entry(name, "a", 0) for name in ("baseline", "attention_bias")]
    assert swept_keys(variants) == ["variant"]
    assert swept_keys(variants[:1]) == []


def test_an_attempt_that_was_forced_beside_a_run_counts_for_it() -> None:
    found = by_entry(
        ENTRIES[:2],
        [
            row("attention_bias-c-s0", None, "failed"),
            row("attention_bias-c-s0-a2", 0.5),
            row("attention_bias-z-s0", 0.9),
            row("baseline-b-s0", 0.25),
            row("baseline-b-s0-a2", None, "failed"),
        ],
    )
    assert {name: item.metric("mAP") for name, item in found.items()} == {
        "attention_bias-c-s0": 0.5,
        "baseline-b-s0": 0.25,
    }
