import pytest

from aqr_exp.analyze.softmax import (
    mass_biases,
    mass_table,
    response_table,
    responses,
    saturation_table,
)
from aqr_exp.report.tables.cells import Table
from aqr_exp.report.tables.formats import as_json


def texts(table: Table) -> list[list[str]]:
    return [[cell.text for cell in row] for row in table.rows]


def test_the_recorded_example() -> None:
    weights, scales = (0.0, 0.8, -0.6, 0.3), (1.0, 2.5, 5.0, 10.0, 20.0)
    table = response_table(weights, responses(weights, scales))
    assert table.names[1:5] == ("p1 (w=0)", "p2 (w=0.8)", "p3 (w=-0.6)", "p4 (w=0.3)")
    # e^0, e^.8, e^-.6, e^.3 = 1, 2.225541, .548812, 1.349859; their sum is 5.124211.
    assert texts(table)[0] == [
        "1",
        "0.195152",
        "0.434319",
        "0.107102",
        "0.263428",
        "1.2718",
        "0.434319",
        "0.8",
        "responsive",
    ]
    assert [row[-1] for row in texts(table)] == [
        "responsive",
        "responsive",
        "edge",
        "saturated",
        "saturated",
    ]
    for row in as_json(table)["rows"]:
        assert sum(row[name] for name in table.names[1:5]) == pytest.approx(1.0, abs=2.1e-6)


def test_the_same_weight_twice_keeps_both_columns() -> None:
    table = response_table((0.5, 0.5), responses((0.5, 0.5), (0.0, 3.0)))
    assert as_json(table)["rows"][1] == {
        "scale": 3,
        "p1 (w=0.5)": 0.5,
        "p2 (w=0.5)": 0.5,
        "entropy (nats)": 0.6931,
        "maximum": 0.5,
        "largest bias": 1.5,
        "verdict": "responsive",
    }


def test_saturation_holds_the_definitions_numbers() -> None:
    assert texts(saturation_table()) == [
        ["0", "0.500000", "0.250000", "100.000", "responsive"],
        ["1", "0.731059", "0.196612", "78.645", "responsive"],
        ["2", "0.880797", "0.104994", "41.997", "responsive"],
        ["3", "0.952574", "0.045177", "18.071", "safe"],
        ["5", "0.993307", "0.006648", "2.659", "edge"],
    ]


def test_mass_in_the_window_at_the_full_size() -> None:
    table = mass_table((0.0, 0.9, 3.0), (25, 64), 22_384)
    # 25 / 22384, 25 e^.9 / (25 e^.9 + 22359), 25 e^3 / (25 e^3 + 22359); the same for 64.
    assert texts(table) == [
        ["0", "0.112", "0.286"],
        ["0.9", "0.274", "0.700"],
        ["3", "2.196", "5.446"],
    ]
    assert "Half of the mass needs a bias of 6.80 for 25, 5.85 for 64" in table.notes[0]
    assert "22,384 keys" in table.title


def test_mass_is_shown_for_each_scales_largest_bias_too() -> None:
    assert mass_biases(responses((0.0, -0.8), (0.0, 2.5, 5.0))) == [-4, -2, 0, 1, 2, 3, 5]
