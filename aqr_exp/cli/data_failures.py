"""`aqr-exp data failures`: a page with a picture of each sensor failure."""

from pathlib import Path
from typing import Annotated

import typer

from aqr_exp.cli import arguments, output

HELP = """Draw each sensor failure on a sample: a page with the images and the view from above.

Takes what `aqr-exp run` takes after the variant. Each picture has the sample before and, below, at every
severity of the failure; a failure that is drawn by chance may leave a sample as it is.

\b
Examples:
  aqr-exp data failures --out failures
  aqr-exp data failures --sample 12 --out failures data=nuscenes_mini
"""


def command(
    overrides: arguments.Overrides = None,
    out: Annotated[
        Path, typer.Option("--out", help="The folder of the page; made when absent.", metavar="DIR")
    ] = Path("failures"),
    sample: Annotated[
        int | None,
        typer.Option(
            "--sample",
            help="Which sample of the split; 1 by default: a scene's first keyframe cannot be late.",
            metavar="N",
            min=0,
            show_default=False,
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option("--split", help="Which split; the validation split by default.")
    ] = None,
) -> None:
    """Draw the page."""
    from aqr_exp.cli.progress import counted_progress
    from aqr_exp.config.data_identity import with_data_identity
    from aqr_exp.config.load import load_run
    from aqr_exp.data.failures.registry import FAILURES
    from aqr_exp.errors import RequestError
    from aqr_exp.results.plots.figure_file import check_matplotlib

    check_matplotlib("data failures")
    if out.exists() and not out.is_dir():
        raise RequestError(f"--out {out}: is no folder")
    config = with_data_identity(load_run("baseline", overrides or ()))
    from aqr_exp.analyze.failure_page import INDEX, write_page
    from aqr_exp.analyze.samples import Samples

    output.silence_libraries()
    split = split or config.data.val_split
    samples = Samples(config, split)
    number = min(1, len(samples) - 1) if sample is None else sample
    samples.check(number)
    out.mkdir(parents=True, exist_ok=True)
    with counted_progress("files written") as show:
        for done, _ in enumerate(write_page(config, split, number, out), start=1):
            show(done, len(FAILURES) + 1)
    output.data(str(out / INDEX))
