import pytest
from hypothesis import given
from hypothesis import strategies as st

from aqr_exp.config.conditions import ABSENT, looking_at, read_condition
from aqr_exp.errors import RequestError

KNOWN = {"bias_scale", "window_size", "learnable_scale", "variant", "variant.bias.unit", "seed"}
POINT = {
    "bias_scale": 8,
    "window_size": 15,
    "learnable_scale": False,
    "variant": "attention_bias",
    "variant.bias.unit": "score",
    "seed": ABSENT,
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bias_scale > 5 and window_size == 15", True),
        ("bias_scale > 8 or window_size < 15", False),
        ("not learnable_scale", True),
        ("learnable_scale", False),
        ("learnable_scale == false", True),
        ("5 < bias_scale <= 8", True),
        ("5 < bias_scale < 8", False),
        ("window_size in [5, 15]", True),
        ("window_size not in (5, 15)", False),
        ("variant.bias.unit == 'score'", True),
        ("bias_scale > -2", True),
        ("bias_scale == -8", False),
        ("bias_scale != 8.0", False),
        # Every comparison with what a point does not have is false, and so is its name alone.
        ("seed == 0", False),
        ("seed != 0", False),
        ("seed", False),
        ("not seed", True),
        ("window_size in [seed, 15]", False),
        ("window_size not in [5, [seed]]", False),
        ("window_size < [seed]", False),
    ],
)
def test_a_condition_means_what_it_says(text: str, expected: bool) -> None:
    assert read_condition(text, KNOWN).holds(POINT.__getitem__) is expected


@given(st.integers(-9, 9), st.integers(-9, 9), st.integers(-9, 9))
def test_and_or_and_not_are_those_of_logic(scale: int, size: int, limit: int) -> None:
    point = {"bias_scale": scale, "window_size": size}
    text = f"not (bias_scale > {limit} or window_size <= {limit}) and bias_scale != window_size"
    expected = not (scale > limit or size <= limit) and scale != size
    assert read_condition(text, KNOWN).holds(point.__getitem__) is expected


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "bias_scale.__class__()",
        "(lambda: 1)() == 1",
        "[x for x in (1,)] == 1",
        "bias_scale ** 9 > 1",
        "bias_scale + 1 > 2",
        "bias_scale if seed else 1",
        "(bias_scale := 3) == 3",
        "f'{bias_scale}' == '1'",
        "bias_scale > ",
        "bias_scale > 1j",
        "bias_scale is 1",
        "b'a' == bias_scale",
        "bias_scale\nseed",
        "\0",
        "",
    ],
)
def test_what_is_more_than_a_comparison_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match=r"^condition .*: is not an expression of keys, numbers"):
        read_condition(text, KNOWN)


@pytest.mark.parametrize(
    "text", ["5", "'a'", "[1]", "-2", "bias_scale > 1 and 5", "(seed > 1) == 1"]
)
def test_what_compares_nothing_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match=r"compares nothing: write key == value"):
        read_condition(text, KNOWN)


def test_a_misspelt_key_is_named_with_the_nearest() -> None:
    with pytest.raises(RequestError) as refused:
        read_condition("bias_scal > 5", KNOWN)
    assert str(refused.value) == (
        "condition 'bias_scal > 5': unknown key 'bias_scal': did you mean 'bias_scale'?"
    )


def test_what_has_no_order_is_named() -> None:
    condition = read_condition("variant > 5", KNOWN)
    with pytest.raises(RequestError) as refused:
        condition.holds(POINT.__getitem__)
    assert str(refused.value) == (
        "condition 'variant > 5': 'attention_bias' and 5 cannot be compared: they differ in kind"
    )


def test_endless_conditions_are_refused() -> None:
    with pytest.raises(RequestError, match=r"is longer than 1000 characters"):
        read_condition("not " * 300 + "seed", KNOWN)
    with pytest.raises(RequestError, match=r"is not an expression"):
        read_condition("(" * 500 + "seed" + ")" * 400, KNOWN)


def test_a_point_is_looked_at_by_short_names_and_dotted_keys() -> None:
    composed = {"variant": {"bias": {"window": {"bev": 8, "camera": 3}, "scale": {"start": 2}}}}
    look = looking_at(composed, {"seed": 4})
    assert look("bias_scale") == 2
    assert look("variant.bias.window.bev") == 8
    assert look("window_size") is ABSENT  # two sizes are no one size
    assert look("variant.renderer.method") is ABSENT
    assert look("variant.bias") is ABSENT
    assert look("seed") == 4
