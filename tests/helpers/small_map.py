"""A small layout, and places and windows of queries put on it by hand."""

import torch

from aqr_exp.aqr.layout import QueryCells, TokenLayout

# Keys: BEV 6 x 8 (0 .. 47), then views of 4 x 5 tokens: 48 .. 67, 68 .. 87, 88 .. 107.
LAYOUT = TokenLayout(
    bev_rows=6,
    bev_columns=8,
    bev_origin_m=(-4.0, -3.0),
    bev_pitch_m=(1.0, 1.0),
    views=3,
    camera_rows=4,
    camera_columns=5,
    image_size_px=(32, 40),
)


def places_of(*queries):
    """One sample; each query is (BEV cell or None, {view: camera cell})."""
    bev = torch.zeros(1, len(queries), 2)
    camera = torch.zeros(1, 3, len(queries), 2)
    inside = torch.zeros(1, len(queries), dtype=torch.bool)
    seen = torch.zeros(1, 3, len(queries), dtype=torch.bool)
    for number, (cell, views) in enumerate(queries):
        if cell is not None:
            bev[0, number], inside[0, number] = torch.tensor(cell), True
        for view, token in views.items():
            camera[0, view, number], seen[0, view, number] = torch.tensor(token), True
    return QueryCells(bev=bev, bev_inside=inside, camera=camera, seen=seen)


def keys(windows, query=0, sample=0):
    """Valid keys of the BEV window, and of the camera windows, in slot order."""
    index, valid = windows.index[sample, query], windows.valid[sample, query]
    split = windows.lidar_slots
    return index[:split][valid[:split]].tolist(), index[split:][valid[split:]].tolist()
