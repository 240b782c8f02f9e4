import pytest

from aqr_exp.analyze.softmax import softmax_request
from aqr_exp.errors import RequestError


def test_numbers_may_have_signs_exponents_and_spaces() -> None:
    found = softmax_request("-1, +.5,1e-3", "0,1000", "25", 26)
    assert found.weights == (-1.0, 0.5, 0.001)
    assert (found.scales, found.windows, found.keys) == ((0.0, 1000.0), (25,), 26)


@pytest.mark.parametrize(
    ("typed", "fault"),
    [
        ({"weights": "nan,1"}, "--weights='nan,1': 'nan' is no finite number"),
        ({"weights": "1,-inf"}, "--weights='1,-inf': '-inf' is no finite number"),
        ({"weights": "1,,2"}, "--weights='1,,2': '' is no finite number"),
        ({"weights": "0.5,high"}, "--weights='0.5,high': 'high' is no finite number"),
        ({"weights": ""}, "--weights='': needs numbers with commas between"),
        ({"weights": " , "}, "--weights=' , ': needs numbers with commas between"),
        ({"weights": "0.5"}, "--weights='0.5': needs from 2 to 16 numbers, got 1"),
        ({"weights": "1e300,1"}, "--weights: 1e+300 is beyond 1e+06"),
        ({"scales": ""}, "--scales='': needs numbers with commas between"),
        ({"scales": "2,-1"}, "--scales: -1 must be 0 or more"),
        ({"scales": "2e6"}, "--scales: 2e+06 is beyond 1e+06"),
        (
            {"windows": "2.5"},
            "--window-keys: 2.5 must be a whole number from 1 to 99, below --keys",
        ),
        (
            {"windows": "100"},
            "--window-keys: 100 must be a whole number from 1 to 99, below --keys",
        ),
        ({"keys": 1}, "--keys=1: must be from 2 to 1000000000"),
    ],
)
def test_what_cannot_be_answered_is_one_line(typed: dict[str, str], fault: str) -> None:
    usual = {"weights": "0,1", "scales": "1", "windows": "25", "keys": 100}
    with pytest.raises(RequestError) as caught:
        softmax_request(**(usual | typed))
    assert str(caught.value) == fault


def test_all_faults_are_told_together() -> None:
    with pytest.raises(RequestError) as caught:
        softmax_request("x,1", "-1", "0", 100)
    assert [line.partition(":")[0] for line in str(caught.value).splitlines()] == [
        "--weights='x,1'",
        "--scales",
        "--window-keys",
    ]
