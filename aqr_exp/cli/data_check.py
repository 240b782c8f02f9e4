"""`aqr-exp data check`: what is wrong with a data set, by file and cause."""

from collections import Counter
from typing import Annotated

import typer

from aqr_exp.cli import arguments, output
from aqr_exp.cli.data_prepare import Root, Version

HELP = """Check a nuScenes folder, and name every fault.

Tables, tokens, times, calibrations, boxes, files and info files are checked.
Images, clouds and info files are read by sampling; --all reads every one. Prints one line a fault, with
its file and cause, and exits with 1 when there is any.

\b
Examples:
  aqr-exp data check --root data/synth
  aqr-exp data check --root /data/nuscenes --version v1.0-trainval --images 500
  aqr-exp data check --root /data/nuscenes --version v1.0-trainval --all --json
"""
# Of one sort, more lines than this are only counted; --json holds all.
SHOWN_OF_A_KIND = 20


def command(
    root: Root,
    version: Version = None,
    images: Annotated[
        int, typer.Option("--images", min=0, help="Images read of each camera.")
    ] = 100,
    everything: Annotated[
        bool, typer.Option("--all", help="Read every image, cloud and sample of the info files.")
    ] = False,
    as_json: arguments.Json = False,
) -> None:
    """Print the faults."""
    from aqr_exp.cli.progress import counted_progress
    from aqr_exp.errors import RequestError
    from aqr_exp.launch.requirements import fault_of_missing

    missing = fault_of_missing("checking data")
    if missing:
        raise RequestError(missing)
    from aqr_exp.data.checks.data_root import Depth, check_root
    from aqr_exp.data.preparation import find_version

    root = root.expanduser().absolute()
    version = find_version(root, version)
    count = None if everything else images
    depth = Depth(images=count, clouds=count, infos=count)
    report = check_root(root, version, depth, counted_progress)
    for name in report.skipped:
        output.say(f"not checked: {name}")
    if as_json:
        faults = [{"file": f.file, "kind": f.kind, "cause": f.cause} for f in report.faults]
        known = {"root": str(root), "version": version, "counts": report.counts}
        output.print_json({**known, "faults": faults, "skipped": report.skipped})
    else:
        shown: Counter[str] = Counter()
        for fault in report.faults:
            shown[fault.kind] += 1
            if shown[fault.kind] <= SHOWN_OF_A_KIND:
                output.data(str(fault))
        for kind, number in shown.items():
            if number > SHOWN_OF_A_KIND:
                output.data(f"and {number - SHOWN_OF_A_KIND:,} more of the sort: {kind}")
    found = len(report.faults)
    words = f"{found:,} fault{'s' if found != 1 else ''}" if found else "no fault"
    output.say(f"{root}: {version}: {words} found")
    if found:
        raise typer.Exit(1)
