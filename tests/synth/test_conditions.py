import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from aqr_exp.synth.plan import assign_conditions


def test_half_clear_a_quarter_night_a_quarter_rain() -> None:
    names = [c.name for c in assign_conditions(20, 0.25, 0.25, np.random.default_rng(0))]
    assert (names.count("clear"), names.count("night"), names.count("rain")) == (10, 5, 5)
    assert names != sorted(names)


@given(st.integers(1, 50), st.floats(0, 1), st.floats(0, 1))
def test_every_scene_gets_one(scenes: int, night: float, rain: float) -> None:
    assert len(assign_conditions(scenes, night, rain, np.random.default_rng(0))) == scenes


def test_descriptions_hold_the_words_the_field_groups_metrics_by() -> None:
    conditions = assign_conditions(4, 0.25, 0.25, np.random.default_rng(0))
    words = {condition.name: condition.words for condition in conditions}
    assert words == {"clear": "Clear day", "night": "Night", "rain": "Rain"}
