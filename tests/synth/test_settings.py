import dataclasses

import pytest

from aqr_exp.synth.settings import SynthSettings


def test_every_fault_is_named_with_value_and_range() -> None:
    with pytest.raises(ValueError, match="keyframes") as caught:
        SynthSettings(keyframes=0, jpeg_quality=101, night_fraction=0.7, rain_fraction=0.6)
    assert str(caught.value) == (
        "synthetic data: keyframes=0 (allowed: 1 to 80), jpeg_quality=101 (allowed: 1 to 100), "
        "night_fraction + rain_fraction=1.2999999999999998 (allowed: up to 1)"
    )


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(SynthSettings)])
def test_every_field_is_part_of_the_identity(field: str) -> None:
    usual = SynthSettings()
    value = getattr(usual, field)
    others = {float: lambda: value / 2, int: lambda: value + 1, str: lambda: "depot"}
    other = dataclasses.replace(usual, **{field: others[type(value)]()})
    assert other.as_dict() != usual.as_dict()
    assert SynthSettings().as_dict() == usual.as_dict()


def test_default_has_enough_to_validate_on() -> None:
    usual = SynthSettings()
    assert usual.val_scenes * usual.keyframes >= 150
