import pytest

from aqr_exp.files.run_name import RunName, arm_of, first_of


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("attention_bias-0123456789ab-s12", ("attention_bias", "0123456789ab", 12, 1)),
        ("baseline-aa-s0-a2", ("baseline", "aa", 0, 2)),
        ("a-b-cc-s7-a10", ("a-b", "cc", 7, 10)),
        ("-a2-s3-s0-a3", ("-a2", "s3", 0, 3)),
    ],
)
def test_a_name_is_read_and_written_back(text: str, parts: tuple[str, str, int, int]) -> None:
    name = RunName.parse(text)
    assert name == RunName(*parts)
    assert str(name) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "x-s0",
        "b-aa-s0-ax",
        "b-aa-s01",
        "b-aa-s0-a1",
        "b-a-s0-a02",
        "b-a-s0-a2 ",
        "b-a-s-1",
        "b-a-s0\n",
        "b-a-s\u0663",
    ],
)
def test_another_name_is_of_no_run_and_stands_for_itself(text: str) -> None:
    assert RunName.parse(text) is None
    assert (arm_of(text), first_of(text)) == (text, text)


def test_names_are_ordered_by_number() -> None:
    texts = ["b-x-s10", "b-x-s2-a10", "b-x-s2-a2", "b-x-s2", "a-x-s99"]
    assert [str(name) for name in sorted(filter(None, map(RunName.parse, texts)))] == texts[::-1]


def test_arm_and_original() -> None:
    assert (arm_of("b-x-s2-a10"), first_of("b-x-s2-a10")) == ("b-x", "b-x-s2")
