"""The detector as it is, with which every other variant is compared."""

from aqr_exp.config import BASELINE
from aqr_exp.config.schema.run import VariantSettings
from aqr_exp.config.variant_spec import VariantSpec

SPEC = VariantSpec(
    name=BASELINE,
    summary="The detector as it is: no router, no bias, no modulation.",
    settings=VariantSettings,
)
