"""Names that an idea, a variant in a file of one's own, is written with.

A file `ideas/my_gain.py` holds one class of settings and one module with the hooks that it overrides:

    @dataclass(frozen=True, kw_only=True)
    class MyGain(Settings):
        start: Annotated[float, Range(0.0, 4.0)] = 1.0

    class MyGainModule(Idea):
        def __init__(self, settings: MyGain, run: RunConfig) -> None: ...

`aqr-exp new NAME` writes one.
"""

from aqr_exp.aqr import BevMap, CameraMaps, Keys, Pairs, Points, Projections, Queries
from aqr_exp.aqr.bias import GlobalBias, LocalBias
from aqr_exp.aqr.windows import Windows, gather_windows
from aqr_exp.cmt.transformer import BiasForLayer
from aqr_exp.cmt.variant_module import ForwardContext as Context
from aqr_exp.cmt.variant_module import Recentre, RunHistory, SampleStep, Targets
from aqr_exp.cmt.variant_module import VariantModule as Idea
from aqr_exp.cmt.variant_module import VariantRecord as Record
from aqr_exp.config.load import load_run
from aqr_exp.config.schema.constraints import DefaultBefore, NotInFingerprint, Range, Table
from aqr_exp.config.schema.model import ModelConfig
from aqr_exp.config.schema.run import RunConfig
from aqr_exp.config.schema.run import VariantSettings as Settings
from aqr_exp.config.variant_spec import VariantSpec
from aqr_exp.errors import Fault

__all__ = [
    "BevMap",
    "BiasForLayer",
    "CameraMaps",
    "Context",
    "DefaultBefore",
    "Fault",
    "GlobalBias",
    "Idea",
    "Keys",
    "LocalBias",
    "ModelConfig",
    "NotInFingerprint",
    "Pairs",
    "Points",
    "Projections",
    "Queries",
    "Range",
    "Recentre",
    "Record",
    "RunConfig",
    "RunHistory",
    "SampleStep",
    "Settings",
    "Table",
    "Targets",
    "VariantSpec",
    "Windows",
    "gather_windows",
    "load_run",
]
