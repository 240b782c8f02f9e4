"""Puts our classes into the open-mmlab registries; importing anything else has no such effect."""

import importlib

PLUGIN_MODULES = (
    "aqr_exp.cmt.register",
    "aqr_exp.data.dataset",
    "aqr_exp.data.sampling",
    "aqr_exp.data.transforms.failures",
    "aqr_exp.data.transforms.image_geometry",
    "aqr_exp.data.transforms.loading",
    "aqr_exp.data.transforms.modality",
    "aqr_exp.data.transforms.pasting",
    "aqr_exp.data.transforms.scene_geometry",
    "aqr_exp.evaluate.metric",
    "mmdet3d.datasets.transforms.formating",
    "mmdet3d.models",
)


def register_plugins() -> None:
    """Import every module whose classes a run's configuration names; names resolve in mmdet3d."""
    from mmengine.registry import init_default_scope

    for module in PLUGIN_MODULES:
        importlib.import_module(module)
    init_default_scope("mmdet3d")
