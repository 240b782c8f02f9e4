import pytest
from hypothesis import given
from hypothesis import strategies as st

from aqr_exp.errors import RequestError
from aqr_exp.sweep.values import as_text, read_override, read_values

GROUPS = {"bias": ["aggressive", "conservative", "earlier"], "schedule": ["quick"]}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1,2.5,5", [("1", 1), ("2.5", 2.5), ("5", 5)]),
        ("2.5", [("2.5", 2.5)]),
        ("range(3)", [("0", 0), ("1", 1), ("2", 2)]),
        ("range(0,3)", [("0", 0), ("1", 1), ("2", 2)]),
        ("range(5,1,-2)", [("5", 5), ("3", 3)]),
        # Added up in binary, the third would be 0.30000000000000004.
        ("range(0.1,0.35,0.1)", [("0.1", 0.1), ("0.2", 0.2), ("0.3", 0.3)]),
        ("choice(a,b)", [("a", "a"), ("b", "b")]),
        ("[1,1],[0.5,0.5]", [("[1,1]", [1, 1]), ("[0.5,0.5]", [0.5, 0.5])]),
        ("true,false", [("true", True), ("false", False)]),
        ("1e-4", [("1e-4", 0.0001)]),
        ("'a, b',c", [("'a, b'", "a, b"), ("c", "c")]),
        ("[]", [("[]", [])]),
    ],
)
def test_values_are_read_as_hydra_sweeps_them(text: str, expected: list[object]) -> None:
    found = read_values("key", text, GROUPS)
    assert list(found) == expected
    assert [type(value) for _, value in found] == [type(value) for _, value in expected]


def test_a_glob_chooses_among_the_options_of_its_group() -> None:
    assert [item.typed for item in read_override("bias=glob(*)", GROUPS)] == [
        "bias=aggressive",
        "bias=conservative",
        "bias=earlier",
    ]
    assert [item.text for item in read_override("bias=glob(*r*e)", GROUPS)] == [
        "aggressive",
        "conservative",
    ]


SEARCH = "a search has intervals (strategy: optuna)"
RANGE = "write range(start, stop) or range(start, stop, step), the stop left out"

VALUE = "write a value, a list with commas between, range(...) or choice(...)"
OPTIONS = "available: aggressive, conservative, earlier"


@pytest.mark.parametrize(
    ("typed", "fault"),
    [
        ("s=range(5,1)", f"s=range(5,1): is not a range: start must lie below stop: {RANGE}"),
        ("s=range(1,5,-1)", f"s=range(1,5,-1): is not a range: start must lie above stop: {RANGE}"),
        ("s=range(1,2,0)", f"s=range(1,2,0): is not a range: its step is 0: {RANGE}"),
        ("s=range(1,a)", f"s=range(1,a): is not a range: {RANGE}"),
        ("s=range(0,1e9)", "s=range(0,1e9): holds 1e+09 values, at most 100000"),
        (
            "s=interval(0,1)",
            f"s=interval(0,1): an interval holds no list of values: {RANGE}; {SEARCH}",
        ),
        ("s=shuffle(1,2)", "s=shuffle(1,2): shuffled values make no plan: leave shuffle out"),
        ("s=", "s: no value: write one, or several with commas between"),
        ("s=1,", f"s=1,: cannot be read: {VALUE}"),
        ("s=glob(*)", "s=glob(*): glob chooses among the options of a group (bias, schedule)"),
        ("bias=glob(z*)", f"bias=glob(z*): matches no bias ({OPTIONS})"),
        (
            "bias_scale",
            "override 'bias_scale' cannot be read: write it as key=value, such as bias_scale=...",
        ),
        (
            "bias_scale 3",
            "override 'bias_scale 3' cannot be read: write it as key=value, such as bias_scale=3",
        ),
        ("=3", "override '=3' cannot be read: write it as key=value"),
        (
            "+a=1",
            "override '+a=1' cannot be used: keys are neither added nor removed, only changed",
        ),
        (
            "a@b=1",
            "override 'a@b=1' cannot be used: keys are neither added nor removed, only changed",
        ),
    ],
)
def test_what_names_no_values_is_refused_with_the_remedy(typed: str, fault: str) -> None:
    with pytest.raises(RequestError) as refused:
        read_override(typed, GROUPS)
    assert str(refused.value) == fault


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.floats(allow_nan=False)
    | st.text("ab1.,'\"\\[]{}()= -+~#%:e", max_size=8),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)  # fmt: skip


@given(PLAIN)
def test_a_value_as_text_is_read_back(value: object) -> None:
    ((text, found),) = read_values("key", as_text(value), {})
    assert repr(found) == repr(value)
    assert text == as_text(value)
