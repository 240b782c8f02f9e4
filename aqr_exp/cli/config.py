"""`aqr-exp config`: what would run."""

from aqr_exp.cli import console
from aqr_exp.config import short_names
from aqr_exp.config.identity import as_dict, run_name, to_yaml
from aqr_exp.config.inputs import with_data_identity
from aqr_exp.config.load import load_run
from aqr_exp.errors import AqrExpError

HELP = f"""
\b
Examples:
  aqr-exp config baseline
  aqr-exp config baseline schedule=standard model.head.layers=3
  aqr-exp config baseline --json
  aqr-exp config attention_bias bias=aggressive learnable_scale=false

{short_names.HELP}"""


def command(
    variant: console.Variant,
    overrides: console.Overrides = None,
    as_json: console.Json = False,
) -> None:
    """Compose, check and print one run's configuration."""
    config = load_run(variant, overrides or [])

    unknown = None
    try:
        config = with_data_identity(config)
    except AqrExpError as error:
        unknown = str(error)
    name = None if unknown else run_name(config)
    if as_json:
        console.print_json({"run": name, "config": as_dict(config)})
        return
    head = f"# run: {name}" if name else f"# run: not known before its data are there: {unknown}"
    console.data(f"{head}\n{to_yaml(config)}")
