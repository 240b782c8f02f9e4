import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aqr_exp.config.load import load_run
from aqr_exp.config.schema import ModelConfig
from aqr_exp.config.variant_spec import variant_specs
from aqr_exp.variants.windows import (
    WindowConfig,
    bev_map,
    camera_map,
    window_arguments,
    window_faults,
)

TINY = load_run("baseline").model
PUBLISHED = load_run("baseline", ["model=cmt_r50_800x320"]).model


def window(bev: float, camera: float, unit: str = "cells") -> WindowConfig:
    sides = {"bev": float(bev), "camera": float(camera)}
    return WindowConfig(**sides, unit=unit, view_policy="first")


def faults(bev: float, camera: float, unit: str = "cells", model: ModelConfig = TINY) -> list[str]:
    return [str(fault) for fault in window_faults(window(bev, camera, unit), "w", model)]


def window_cells(given: WindowConfig, model: ModelConfig) -> tuple[int, int]:
    arguments = window_arguments(given, model)
    assert arguments["view_policy"] == "first"
    assert arguments["full_within_m"] == 0.0
    return arguments["bev_size"], arguments["camera_size"]


def with_lidar(**changes: object) -> ModelConfig:
    return dataclasses.replace(TINY, lidar=dataclasses.replace(TINY.lidar, **changes))


def test_the_maps_are_those_of_the_model() -> None:
    bev, camera = bev_map(TINY), camera_map(TINY)
    assert (bev.rows, bev.columns, bev.pitch) == (48, 24, (1.5, 1.5))
    assert (camera.rows, camera.columns, camera.pitch) == (6, 16, (16, 16))
    # The published r50 grid: 128 cells of .8 m, the true pitch, over a range of 108 m.
    bev, camera = bev_map(PUBLISHED), camera_map(PUBLISHED)
    assert (bev.rows, bev.columns) == (128, 128)
    assert bev.pitch == pytest.approx((0.8, 0.8))
    assert (camera.rows, camera.columns) == (20, 50)


@pytest.mark.parametrize(
    ("bev", "camera", "unit", "cells"),
    [
        (8.0, 3.0, "cells", (8, 3)),
        (6.4, 128.0, "metric", (8, 8)),
        (4.39, 87.9, "metric", (5, 5)),  # 5.49 cells
        (4.4, 88.0, "metric", (6, 6)),  # 5.5 cells: halves go up
        (0.8, 16.0, "metric", (1, 1)),
    ],
)
def test_sides_become_whole_cells(
    bev: float, camera: float, unit: str, cells: tuple[int, int]
) -> None:
    assert window_cells(window(bev, camera, unit), PUBLISHED) == cells


def test_a_window_shrinks_by_what_is_typed_for_it() -> None:
    spec = variant_specs()["attention_bias"]
    config = load_run("attention_bias", ["variant.bias.window.full_within_m=12.5"])
    found = {part: of(config.variant, TINY)["full_within_m"] for part, of in spec.windows.items()}
    assert found == {"bias": 12.5, "router": 0.0}


@given(st.floats(1.5, 36.0), st.floats(16.0, 96.0))
def test_metric_sides_become_the_nearest_number_of_cells(bev: float, camera: float) -> None:
    bev_cells, camera_cells = window_cells(window(bev, camera, "metric"), TINY)
    assert abs(bev_cells * 1.5 - bev) <= 1.5 / 2 + 1e-9
    assert abs(camera_cells * 16.0 - camera) <= 16.0 / 2 + 1e-9


@given(st.floats(-10.0, 60.0), st.sampled_from(["cells", "metric"]))
def test_a_side_that_is_not_refused_fits_its_map(side: float, unit: str) -> None:
    if not faults(side, 3 if unit == "cells" else 16, unit):
        assert 1 <= window_cells(window(side, 16, unit), TINY)[0] <= 48


@pytest.mark.parametrize(
    ("bev", "camera", "unit", "fault"),
    [
        (8, 0, "cells", "w.camera=0: must be a whole number of cells, at least 1"),
        (-1, 3, "cells", "w.bev=-1: must be a whole number of cells, at least 1"),
        (2.5, 3, "cells", "w.bev=2.5: must be a whole number of cells, at least 1"),
        (
            8,
            17,
            "cells",
            "w.camera=17: larger than the model's camera map of 6 x 16 cells (rows x columns)",
        ),
        (
            49,
            6,
            "cells",
            "w.bev=49: larger than the model's BEV map of 48 x 24 cells (rows x columns)",
        ),
        (
            73.0,
            96,
            "metric",
            (
                "w.bev=73: 49 cells are larger than the model's BEV map "
                "of 48 x 24 cells (rows x columns)"
            ),
        ),
        (12, 3, "metric", "w.camera=3: must be at least one cell of the camera map, 16 px wide"),
        (0, 16, "metric", "w.bev=0: must be at least one cell of the BEV map, 1.5 m wide"),
    ],
)
def test_a_side_that_is_no_window_is_named(
    bev: float, camera: float, unit: str, fault: str
) -> None:
    assert faults(bev, camera, unit) == [fault]


def test_the_largest_windows_fit() -> None:
    # The longer side counts: the shorter one clips a window, as every border does.
    assert faults(48, 16) == []
    assert faults(72.7, 263.9, "metric") == []
    assert faults(0.8, 16, "metric", PUBLISHED) == []


def test_metric_sides_need_square_cells() -> None:
    oblong = with_lidar(voxel_size_m=(0.375, 0.75, 8.0))
    assert faults(8, 16, "metric", oblong) == [
        "w.bev=8: the cells of the BEV map are not square (3 x 1.5 m): use cells"
    ]
    assert faults(8, 3, "cells", oblong) == []


def test_a_model_that_other_rules_refuse_does_no_harm() -> None:
    assert faults(8, 16, "metric", with_lidar(voxel_size_m=(0.0, 0.0, 8.0))) == []
