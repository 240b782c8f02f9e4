"""`aqr-exp data`: make, prepare, check and show data sets."""

import contextlib
import dataclasses
import functools
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from aqr_exp.cli import console
from aqr_exp.cli.console import counted_progress
from aqr_exp.config.inputs import info_folder, with_data_identity
from aqr_exp.config.load import load_run
from aqr_exp.data.corruptions.cases import CORRUPTIONS
from aqr_exp.errors import Fault, RequestError, refusal, shown
from aqr_exp.files.atomic import clear_litter
from aqr_exp.files.suggest import did_you_mean
from aqr_exp.files.text import typed_path
from aqr_exp.launch.preflight import check_packages
from aqr_exp.report.figures.figure_file import check_matplotlib, check_target, save
from aqr_exp.store.lease import LockHeldError, clear, hold
from aqr_exp.synth.settings import SynthSettings

PREPARE_HELP = """
Checks it, writes info files and cuts out objects. Version v1.0-mini has the splits mini_train and
mini_val, v1.0-trainval has train and val; others name theirs in splits.json. What is done is not done
again; stopped at any moment, the same command goes on. Objects are what ground-truth sampling
(gt_sampling=cmt) pastes into other samples. --infos takes the boxes of an info file of mmdet3d or CMT
instead of the tables' own, in the order in which they fit the LiDAR points. With --keyframes-only or
--partial the data get another identity than the whole version has.

\b
Examples:
  aqr-exp data prepare --root data/nuscenes_mini --version v1.0-mini
  aqr-exp data prepare --root /data/nuscenes --version v1.0-trainval --workers 16
  aqr-exp data prepare --root /data/nuscenes --version v1.0-trainval --partial --keyframes-only
  aqr-exp data prepare --root data/synth
  aqr-exp data prepare --root /data/nuscenes --infos nuscenes_infos_train.pkl
"""

Root = Annotated[
    Path, typer.Option("--root", help="Folder with the version's tables, samples and sweeps.")
]
Version = Annotated[
    str | None,
    typer.Option("--version", help="Such as v1.0-trainval; needed where there are several."),
]

_OBJECTS = typer.Option("--objects/--no-objects", help="Cut out objects of the training split.")
_MERGE = typer.Option("--merge-sweeps", help="Merge the LiDAR sweeps of every keyframe, too.")
_INFOS = typer.Option(
    "--infos", help="Info file of mmdet3d or CMT; may be repeated.", metavar="FILE"
)
_KEYFRAMES_ONLY = typer.Option("--keyframes-only", help="Leave out the LiDAR sweeps between.")
_PARTIAL = typer.Option("--partial", help="Use the scenes whose files are all there and sound.")
_WORKERS = typer.Option("--workers", min=1, max=256, help="Processes (default: one per core).")


def prepare_command(
    root: Root,
    version: Version = None,
    objects: Annotated[bool, _OBJECTS] = True,
    merge_sweeps: Annotated[bool, _MERGE] = False,
    infos: Annotated[list[Path] | None, _INFOS] = None,
    keyframes_only: Annotated[bool, _KEYFRAMES_ONLY] = False,
    partial: Annotated[bool, _PARTIAL] = False,
    workers: Annotated[int | None, _WORKERS] = None,
    as_json: console.Json = False,
) -> None:
    """Prepare, and print what is there by count."""
    check_packages("preparing data")
    from aqr_exp.data.preparation import find_version, prepare

    root = typed_path(root, "--root")
    version = find_version(root, version)
    console.say(f"{root}: reading the tables of {version}")
    done = prepare(
        root,
        version,
        workers=workers or os.cpu_count() or 1,
        objects=objects,
        stage=counted_progress,
        sweeps=merge_sweeps,
        infos=infos or (),
        keyframes_only=keyframes_only,
        partial=partial,
        alone=functools.partial(_alone, root),
    )
    clear(info_folder(root) / ".lease")  # of a process that was killed when all was done
    for note in done.notes:
        console.say(note)
    for scene, fault in list(done.left_out.items())[:SHOWN_OF_A_KIND]:
        console.say(f"left out: {scene}: {fault}")
    if (more := len(done.left_out) - SHOWN_OF_A_KIND) > 0:
        console.say(f"and {more:,} more scenes")
    if as_json:
        counts = {"counts": done.counts, "splits": done.splits, "objects": done.objects}
        part = {"keyframes_only": keyframes_only, "left_out": list(done.left_out)}
        console.print_json({"root": str(root), "version": version, **counts, **part})
        return
    lines = [f"{count:>9,} {name.replace('_', ' ')}" for name, count in done.counts.items()]
    lines += [f"{count:>9,} samples of {split}" for split, count in done.splits.items()]
    for split, classes in done.objects.items():
        lines += [f"{count:>9,} objects of {split}: {name}" for name, count in classes.items()]
    console.data("\n".join(lines))
    state = (
        f"prepared as another data set: {done.part}" if str(done.part) else "complete and prepared"
    )
    console.say(f"{root}: {version} is {state}")


@contextlib.contextmanager
def _alone(root: Path, lease: Path) -> Iterator[None]:
    """Write below `root` while no other process does, or say in one line why that cannot be."""
    folder = lease.parent
    made = [one for one in (folder, *folder.parents) if not one.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with hold(lease, what=str(root)):
            yield
    except LockHeldError as error:
        file = f"{lease.parent.name}/{lease.name}"
        raise RequestError(f"{error}: wait for it, or remove {file} if it is dead") from None
    except OSError as error:
        where = Path(error.filename or root)
        where = where.parent if where.suffix == ".tmp" else where
        raise RequestError(dataclasses.replace(refusal(error), where=str(where))) from None
    finally:
        with contextlib.suppress(OSError):  # nothing was written there
            for one in made:
                one.rmdir()


CHECK_HELP = """
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

_IMAGES = typer.Option("--images", min=0, help="Images read of each camera.")
_EVERYTHING = typer.Option("--all", help="Read every image, cloud and sample of the info files.")


def check_command(
    root: Root,
    version: Version = None,
    images: Annotated[int, _IMAGES] = 100,
    everything: Annotated[bool, _EVERYTHING] = False,
    as_json: console.Json = False,
) -> None:
    """Print the faults."""
    check_packages("checking data")
    from aqr_exp.data.checks.data_root import check_root
    from aqr_exp.data.preparation import find_version

    root = typed_path(root, "--root")
    version = find_version(root, version)
    count = None if everything else images
    report = check_root(root, version, count, counted_progress)
    for name in report.skipped:
        console.say(f"not checked: {name}")
    if as_json:
        faults = [{"file": f.file, "kind": f.kind, "cause": f.cause} for f in report.faults]
        known = {"root": str(root), "version": version, "counts": report.counts}
        console.print_json({**known, "faults": faults, "skipped": report.skipped})
    else:
        shown: Counter[str] = Counter()
        for fault in report.faults:
            shown[fault.kind] += 1
            if shown[fault.kind] <= SHOWN_OF_A_KIND:
                console.data(str(fault))
        for kind, number in shown.items():
            if number > SHOWN_OF_A_KIND:
                console.data(f"and {number - SHOWN_OF_A_KIND:,} more of the sort: {kind}")
    found = len(report.faults)
    words = f"{found:,} fault{'s' if found != 1 else ''}" if found else "no fault"
    console.say(f"{root}: {version}: {words} found")
    if found:
        raise typer.Exit(1)


SHOW_HELP = """
Takes what `aqr-exp run` takes after the variant. With --augmented the sample is drawn as it is stored and,
below, as training sees it in the given epoch: pasted, moved, mirrored, cut, perhaps without a sensor.

\b
Examples:
  aqr-exp data show 12
  aqr-exp data show 12 --augmented --epoch 3 --out sample.png
  aqr-exp data show 0 data=nuscenes_mini gt_sampling=cmt --augmented
"""

_AUGMENTED = typer.Option("--augmented", help="Before and after augmentation.")
_EPOCH = typer.Option("--epoch", help="Whose augmentation; counted from 0.", min=0)
_SPLIT = typer.Option("--split", help="Which split; the training split by default.")
_OUT = typer.Option("--out", help="The picture: .png, .pdf or .svg.", metavar="FILE")


def show_command(
    number: Annotated[int, typer.Argument(help="Which sample of the split.", metavar="N", min=0)],
    overrides: console.Overrides = None,
    augmented: Annotated[bool, _AUGMENTED] = False,
    epoch: Annotated[int, _EPOCH] = 0,
    split: Annotated[str | None, _SPLIT] = None,
    out: Annotated[Path | None, _OUT] = None,
) -> None:
    """Draw one picture."""
    out = out or Path(f"sample-{number}{'-augmented' if augmented else ''}.png")
    check_target(out)
    config = with_data_identity(load_run("baseline", overrides or ()))
    from aqr_exp.analyze.sample_figure import sample_figure
    from aqr_exp.analyze.samples import SampleReader

    console.silence_libraries()
    split = split or config.data.train_split
    samples = SampleReader(config, split)
    rows = [(f"Sample {number} of {split}", samples.sample(number))]
    if augmented:
        rows.append((f"Augmented, epoch {epoch}", samples.augmented(number, epoch)))
    save(sample_figure(rows), out)
    console.data(str(out))


FAILURES_HELP = """
A page with the images and the view from above. Takes what `aqr-exp run` takes after the variant. Each
picture has the sample before and, below, at every severity of the failure; a failure that is drawn by
chance may leave a sample as it is.

\b
Examples:
  aqr-exp data failures --out failures
  aqr-exp data failures --sample 12 --out failures data=nuscenes_mini
"""

_FAILURES_OUT = typer.Option(
    "--out", help="The folder of the page; made when absent.", metavar="DIR"
)
_SAMPLE = typer.Option(
    "--sample",
    help="Which sample of the split; 1 by default: a scene's first keyframe cannot be late.",
    metavar="N",
    min=0,
    show_default=False,
)
_FAILURES_SPLIT = typer.Option("--split", help="Which split; the validation split by default.")


def failures_command(
    overrides: console.Overrides = None,
    out: Annotated[Path, _FAILURES_OUT] = Path("failures"),
    sample: Annotated[int | None, _SAMPLE] = None,
    split: Annotated[str | None, _FAILURES_SPLIT] = None,
) -> None:
    """Draw the page."""
    check_matplotlib("data failures")
    if out.exists() and not out.is_dir():
        raise RequestError(f"--out {out}: is not a folder")
    config = with_data_identity(load_run("baseline", overrides or ()))
    from aqr_exp.analyze.sample_figure import INDEX, write_page
    from aqr_exp.analyze.samples import SampleReader

    console.silence_libraries()
    split = split or config.data.val_split
    samples = SampleReader(config, split)
    number = min(1, len(samples) - 1) if sample is None else sample
    samples.check(number)
    out.mkdir(parents=True, exist_ok=True)
    with counted_progress("files written") as show:
        for done, _ in enumerate(write_page(config, split, number, out), start=1):
            show(done, len(CORRUPTIONS) + 1)
    console.data(str(out / INDEX))


SYNTH_HELP = """
It has the schema of nuScenes; no number measured on it says anything about nuScenes.

\b
Examples:
  aqr-exp data synth
  aqr-exp data synth --seed 7 --root /somewhere/else
  aqr-exp data synth --set depot
"""

_SET = typer.Option("--set", help="synth, or depot: four classes of its own, four cameras.")
_ROOT = typer.Option("--root", help="Where to put it (default: data/<set>, or $AQR_EXP_DATA).")
_TRAIN_SCENES = typer.Option("--train-scenes", min=1, help="Scenes to train on.")
_VAL_SCENES = typer.Option("--val-scenes", min=1, help="Scenes to validate on.")
_KEYFRAMES = typer.Option("--keyframes", min=1, help="Keyframes of each scene, at 2 Hz.")
_FORCE = typer.Option("--force", help="Replace a data set made with other settings.")


def synth_command(
    name: Annotated[str, _SET] = "synth",
    root: Annotated[Path | None, _ROOT] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of everything random.")] = None,
    train_scenes: Annotated[int | None, _TRAIN_SCENES] = None,
    val_scenes: Annotated[int | None, _VAL_SCENES] = None,
    keyframes: Annotated[int | None, _KEYFRAMES] = None,
    workers: Annotated[int | None, _WORKERS] = None,
    force: Annotated[bool, _FORCE] = False,
) -> None:
    """Make the synthetic data set, unless the same is there already."""
    typed = {
        "seed": seed,
        "train_scenes": train_scenes,
        "val_scenes": val_scenes,
        "keyframes": keyframes,
    }
    given: dict[str, Any] = {name: value for name, value in typed.items() if value is not None}
    check_packages("making data")
    try:
        settings = dataclasses.replace(_settings_of(name), **given)
    except ValueError as error:
        raise RequestError(str(error)) from None
    target = typed_path(root or default_root(name), "--root")
    real = target.resolve()
    infos, lease = info_folder(real), real.with_name(f".{real.name}.lease")
    if ready(target, settings, force=force):
        clear(lease)  # of a process that was killed when it had made it
        clear_litter(real.parent)
        console.say(f"{target}: the synthetic data set is there already")
        return
    from aqr_exp.synth.generate import generate_dataset

    with (
        _alone(target, lease),
        _alone(target, infos / ".lease") if infos.is_dir() else contextlib.nullcontext(),
    ):
        if ready(target, settings, force=force):  # another process was faster
            console.say(f"{target}: the synthetic data set is there already")
            return
        with counted_progress("scenes") as show:
            generate_dataset(
                target, settings, workers=workers or os.cpu_count() or 1, progress=show
            )
    console.say(f"{target}: the synthetic data set is made")


def _settings_of(name: str) -> SynthSettings:
    """The settings that a set of synthetic data begins with."""
    from aqr_exp.synth.sets import SETS

    if name not in SETS:
        hint = f"{did_you_mean(name, SETS)} (there: {', '.join(SETS)})"
        raise RequestError(Fault("--set", shown(name), "no such set", hint))
    width, height = SETS[name].size_px
    return SynthSettings(set=name, image_width=width, image_height=height)


def default_root(name: str = "synth") -> Path:
    """A set's folder below `$AQR_EXP_DATA`, or below `data` in the current folder."""
    return Path(os.environ.get("AQR_EXP_DATA") or "data") / name


def ready(root: Path, settings: SynthSettings, *, force: bool) -> bool:
    """True when exactly this data set is there, and not to be made again.

    Args:
        force: A synthetic data set is made again, also from other settings.

    Raises:
        RequestError: The folder holds other data; names it and what to do.
    """
    from aqr_exp.synth.generate import is_generated, stored_settings

    if root.exists() and not root.is_dir():
        raise RequestError(f"{root} is not a folder: choose another one with --root")
    if not root.exists() or not any(root.iterdir()):
        return False
    if stored_settings(root) is None:
        raise RequestError(f"{root} holds something else: choose another folder with --root")
    if not force and not is_generated(root, settings):
        raise RequestError(f"{root} was made from other settings: --force replaces it")
    return not force
