"""`aqr-exp data show`: a sample's boxes over the six images and from above."""

from pathlib import Path
from typing import Annotated

import typer

from aqr_exp.cli import arguments, output

HELP = """Draw the boxes of a sample over its six images and from above.

Takes what `aqr-exp run` takes after the variant. With --augmented the sample is drawn as it is stored and,
below, as training sees it in the given epoch: pasted, moved, mirrored, cut, perhaps without a sensor.

\b
Examples:
  aqr-exp data show 12
  aqr-exp data show 12 --augmented --epoch 3 --out sample.png
  aqr-exp data show 0 data=nuscenes_mini gt_sampling=cmt --augmented
"""


def command(
    number: Annotated[int, typer.Argument(help="Which sample of the split.", metavar="N", min=0)],
    overrides: arguments.Overrides = None,
    augmented: Annotated[
        bool, typer.Option("--augmented", help="Before and after augmentation.")
    ] = False,
    epoch: Annotated[
        int, typer.Option("--epoch", help="Whose augmentation; counted from 0.", min=0)
    ] = 0,
    split: Annotated[
        str | None, typer.Option("--split", help="Which split; the training split by default.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="The picture: .png, .pdf or .svg.", metavar="FILE")
    ] = None,
) -> None:
    """Draw one picture."""
    from aqr_exp.config.data_identity import with_data_identity
    from aqr_exp.config.load import load_run
    from aqr_exp.results.plots.figure_file import check_target, save

    out = out or Path(f"sample-{number}{'-augmented' if augmented else ''}.png")
    check_target(out)
    config = with_data_identity(load_run("baseline", overrides or ()))
    from aqr_exp.analyze.sample_figure import sample_figure
    from aqr_exp.analyze.samples import Samples

    output.silence_libraries()
    split = split or config.data.train_split
    samples = Samples(config, split)
    rows = [(f"Sample {number} of {split}", samples.sample(number))]
    if augmented:
        rows.append((f"Augmented, epoch {epoch}", samples.augmented(number, epoch)))
    save(sample_figure(rows), out)
    output.data(str(out))
