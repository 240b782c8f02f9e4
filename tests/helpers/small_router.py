"""Small routers, at their start or as if trained, and inputs for them on the small map."""

import torch
from small_map import LAYOUT, places_of

from aqr_exp.aqr.router import Router
from aqr_exp.aqr.windows import gather_windows

QUERIES = (
    ((0.0, 0.0), {0: (0.2, 0.3)}),
    ((3.5, 7.9), {}),
    ((2.0, 2.0), {0: (3.9, 4.9), 1: (1.0, 0.0)}),
    (None, {2: (2.0, 2.0)}),
    (None, {}),
    ((5.0, 4.0), {1: (2.0, 2.0)}),
)


def windows_of(*queries, view_policy="all"):
    return gather_windows(
        places_of(*queries), LAYOUT, bev_size=3, camera_size=2, view_policy=view_policy
    )


def router_of(**changes):
    torch.manual_seed(0)
    options = {
        "width": 8, "heads": 2, "ffn_channels": 12, "activation": "tanh", "init_bias": 0.0,
    }  # fmt: skip
    return Router(**{**options, **changes})


def trained(**changes):
    """A router whose parameters are all away from their start, in float64."""
    router = router_of(**changes).double()
    for parameter in router.parameters():
        parameter.data.normal_(std=0.5)
    return router


def inputs_of(queries=6, width=8, dtype=torch.float64):
    torch.manual_seed(1)
    return [
        torch.randn(1, n, width, dtype=dtype, requires_grad=True)
        for n in (queries, LAYOUT.keys, LAYOUT.keys)
    ]
