import re

from aqr_exp.synth.settings import generator, token


def test_token_is_32_hex_digits_and_depends_on_every_part() -> None:
    assert re.fullmatch("[0-9a-f]{32}", token("sample", 0, 1))
    assert token("sample", 0, 1) == token("sample", 0, 1)
    assert len({token("sample", 0, 1), token("sample", 1, 0), token("scene", 0, 1)}) == 3


def test_generators_are_repeatable_and_independent() -> None:
    draws = [
        generator(*key).random() for key in ((0, 0, "a"), (0, 0, "b"), (0, 1, "a"), (1, 0, "a"))
    ]
    assert len(set(draws)) == 4
    assert generator(0, 0, "a").random() == draws[0]
