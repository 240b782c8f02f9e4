from aqr_exp.report.arm_names import arm_labels
from aqr_exp.store.collect import RunRow
from aqr_exp.store.status import RunStatus


def arm(variant: str, *typed: str, fingerprint: str = "aa") -> RunRow:
    record = {"variant": variant, "fingerprint": fingerprint, "overrides": [*typed, "seed=0"]}
    return RunRow(name="any", status=RunStatus.COMPLETED, record=record)


def test_an_arm_is_called_by_what_tells_it_apart() -> None:
    rows = [
        arm("baseline", "preset=quick"),
        arm("attention_bias", "preset=quick", "launcher.threads=1", "bias_scale=1"),
        arm("attention_bias", "bias_scale=2", "preset=quick"),
    ]
    assert arm_labels(rows) == [
        "baseline",
        "attention_bias bias_scale=1",
        "attention_bias bias_scale=2",
    ]
    twins = [arm("baseline", fingerprint=name) for name in ("aa", "bb")]
    assert arm_labels(twins) == ["baseline aa", "baseline bb"]
    assert arm_labels([]) == []
