import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_scene import LAYOUT, marks, rectangles, small_scene

from aqr_exp.analyze.scene_figure import Frame
from aqr_exp.analyze.windows import bev_windows_figure, camera_windows_figure
from aqr_exp.aqr.layout import TokenLayout, locate_queries
from aqr_exp.aqr.windows import gather_windows
from aqr_exp.data.classes import CAMERA_NAMES
from aqr_exp.report.figures.figure_file import rendered

QUERIES = np.array([[0.5, 2.5, 0.0], [-4.9, -3.9, 0.0]])
# Query 0: BEV cell (6, 5) and its right neighbour, then two tokens of view 0; query 1: the corner
# cell and a token of view 3.
INDEX = np.array([[65, 66, 80 + 8, 80 + 9], [0, 0, 80 + 72 + 23, 0]])
VALID = np.array([[True, True, True, True], [True, False, True, False]])


def test_from_above_one_rectangle_a_valid_cell() -> None:
    figure = bev_windows_figure(small_scene(), QUERIES, INDEX, VALID, ("1", "2"))
    (axes,) = figure.axes
    assert rectangles(axes) == [(0, 2, 1, 1), (1, 2, 1, 1), (-5, -4, 1, 1)]
    assert marks(axes) == [(0.5, 2.5), (-4.9, -3.9)]
    assert [text.get_text() for text in axes.texts] == ["1", "2"]
    assert axes.get_title(loc="left") == "Windows over the BEV"
    assert axes.get_xlim() == (-5.0, 5.0)
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["LiDAR points", "ground truth", "ego"]
    first, second, third = axes.patches
    assert first.get_edgecolor() == second.get_edgecolor() != third.get_edgecolor()
    assert 0 < first.get_facecolor()[3] < 1


def test_over_the_images_one_rectangle_a_valid_token_of_the_view() -> None:
    figure = camera_windows_figure(small_scene(), QUERIES, INDEX, VALID, ("a", "b"))
    axes = dict(
        zip(CAMERA_NAMES, [figure.axes[place] for place in (1, 2, 0, 4, 3, 5)], strict=True)
    )
    # Tokens (1, 2) and (1, 3) of view 0; patches 20 px wide and 10 high.
    assert rectangles(axes["CAM_FRONT"]) == [(40, 10, 20, 10), (60, 10, 20, 10)]
    assert rectangles(axes["CAM_BACK"]) == [(100, 30, 20, 10)]
    for name in ("CAM_FRONT_LEFT", "CAM_BACK_RIGHT"):
        assert rectangles(axes[name]) == []
        assert marks(axes[name]) == []
    # u = 60 + 50 * .5 / 2.5; query 1 is behind, at u = 60 - 50 * -4.9 / 3.9: outside.
    assert marks(axes["CAM_FRONT"]) == [(70.0, 20.0)]
    assert marks(axes["CAM_BACK"]) == []
    assert [text.get_text() for text in axes["CAM_FRONT"].texts] == ["a"]
    assert figure.get_suptitle() == "Windows over the images"


def test_no_query_is_a_picture_too() -> None:
    nothing: dict[str, Any] = {
        "queries_m": np.zeros((0, 3)),
        "index": np.zeros((0, 4), dtype=int),
        "valid": np.zeros((0, 4), dtype=bool),
        "names": (),
    }
    empty = small_scene(boxes_m=np.zeros((0, 7)), points_m=np.zeros((0, 3)))
    assert rendered(bev_windows_figure(empty, **nothing), "png").startswith(b"\x89PNG")
    assert rendered(camera_windows_figure(empty, **nothing), "png").startswith(b"\x89PNG")


def real_scene(folder: Path) -> tuple[Frame, dict[str, Any]]:
    """The real frame at half size, and its sample."""
    (sample,) = pickle.loads(next(folder.glob("*.pkl")).read_bytes())["data_list"]
    layout = TokenLayout(
        bev_rows=128,
        bev_columns=128,
        bev_origin_m=(-54.0, -54.0),
        bev_pitch_m=(0.8, 0.8),
        views=6,
        camera_rows=28,
        camera_columns=50,
        image_size_px=(448.0, 800.0),
    )
    matrices = []
    for name in CAMERA_NAMES:
        camera = sample["images"][name]
        intrinsic = np.eye(4)
        intrinsic[:3, :3] = np.array(camera["cam2img"])[:3, :3]
        half = np.diag([0.5, 0.5, 1.0, 1.0])
        matrices.append(half @ intrinsic @ np.array(camera["lidar2cam"]))
    points = np.fromfile(folder / sample["lidar_points"]["lidar_path"], dtype=np.float32)
    scene = Frame(
        layout=layout,
        points_m=points.reshape(-1, 5)[:, :3],
        images=[np.zeros((448, 800, 3), dtype=np.uint8)] * 6,
        lidar2img=np.stack(matrices),
        boxes_m=np.array([instance["bbox_3d"] for instance in sample["instances"]]),
    )
    return scene, sample


@pytest.mark.real_frame
def test_windows_of_ten_real_boxes_hold_what_the_pickles_matrices_say(real_frame_dir: Path) -> None:
    scene, sample = real_scene(real_frame_dir)
    near = scene.boxes_m[np.abs(scene.boxes_m[:, :2]).max(axis=1) < 48]
    queries = near[:: len(near) // 10][:10, :3]
    assert len(queries) == 10
    places = locate_queries(
        torch.tensor(queries)[None].float(),
        torch.tensor(scene.lidar2img)[None].float(),
        scene.layout,
    )
    windows = gather_windows(places, scene.layout, bev_size=5, camera_size=8, view_policy="all")
    given = (queries, windows.index[0].numpy(), windows.valid[0].numpy(), [*"0123456789"])
    (above,) = bev_windows_figure(scene, *given).axes
    assert len(rectangles(above)) == 10 * 25
    for query, (x, y, _) in enumerate(queries):
        cells = rectangles(above)[25 * query : 25 * query + 25]
        # The query is in the middle cell of its window, by the true pitch from -54 m.
        (middle,) = [
            cell for cell in cells if cell[0] <= x < cell[0] + 0.8 and cell[1] <= y < cell[1] + 0.8
        ]
        assert middle[0] == pytest.approx(min(cell[0] for cell in cells) + 1.6)
        assert middle[1] == pytest.approx(min(cell[1] for cell in cells) + 1.6)
    figure = camera_windows_figure(scene, *given)
    drawn = 0
    for view, place in enumerate((1, 2, 0, 4, 3, 5)):
        camera = sample["images"][CAMERA_NAMES[view]]
        cells = rectangles(figure.axes[place])
        for x, y, z in queries:
            in_camera = np.array(camera["lidar2cam"]) @ [x, y, z, 1.0]
            u, v, _ = np.array(camera["cam2img"]) @ in_camera[:3] / in_camera[2] / 2
            if in_camera[2] > 1 and 0 <= u < 800 and 0 <= v < 448:
                holding = [
                    cell
                    for cell in cells
                    if cell[0] <= u < cell[0] + cell[2] and cell[1] <= v < cell[1] + cell[3]
                ]
                assert holding
                drawn += 1
    assert drawn >= 10
    assert sum(len(rectangles(axes)) for axes in figure.axes) == int(
        windows.valid[0, :, windows.lidar_slots :].sum()
    )


def test_a_key_that_is_none_is_refused() -> None:
    wrong = np.full_like(INDEX, LAYOUT.keys)
    with pytest.raises(ValueError, match=r"^key 224 is none of the 224 keys$"):
        bev_windows_figure(small_scene(), QUERIES, wrong, VALID, ("1", "2"))
