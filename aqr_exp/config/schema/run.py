"""A run: its parts, its seed, and how it is executed and scored."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from aqr_exp.config.schema.constraints import DefaultBefore, NotInFingerprint, Range, Table
from aqr_exp.config.schema.data import DataConfig
from aqr_exp.config.schema.model import ModelConfig
from aqr_exp.config.schema.schedule import ScheduleConfig

Evaluator = Literal["aqr", "official"]
"""Whose nuScenes detection protocol scores the predictions; both give the same numbers to 1e-9.

`aqr` is this package's, `official` the devkit's.
"""

Device = Literal["auto", "cpu", "cuda"]
"""The device that trains; `auto` takes CUDA when there is one."""

LauncherName = Literal["local", "debug", "slurm"]
"""Executors of runs: `local` starts a process for each, `debug` runs them in the launcher's own.

`slurm` submits jobs, which do what `local` does on the nodes.
"""


@dataclass(frozen=True, kw_only=True)
class SlurmConfig:
    """Jobs that work on submitted runs; what is None is the cluster's own default.

    Attributes:
        gres: Of a node, such as `gpu:1`.
        time_min: Minutes that a job may take.
        mem_gb: Memory of a node, in gigabytes.
        nodes: Nodes of a job; on each of them a worker.
        max_jobs: How many jobs work side by side at most.
        runs_per_job: How many runs a worker trains side by side; 0 as many as it has GPUs or cores for.
        requeue_limit: How often a job may be started again.
        save_s: Seconds before its end at which a job is told to save its runs; Slurm may tell it up to a
            minute earlier.
        setup: Lines of the batch script before the work, such as `module load cuda`.
        additional: Further options of `sbatch` by name, such as `{exclude: n3}`.
    """

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    gres: str | None = None
    time_min: Annotated[int, Range(1, 43_200)]
    mem_gb: Annotated[float | None, Range(0.1, 100_000.0)] = None
    cpus_per_task: Annotated[int | None, Range(1, 1024)] = None
    nodes: Annotated[int, Range(1, 1000), DefaultBefore(1)] = 1
    max_jobs: Annotated[int, Range(1, 100_000), DefaultBefore(16)] = 16
    runs_per_job: Annotated[int, Range(0, 1000), DefaultBefore(0)] = 0
    requeue_limit: Annotated[int, Range(0, 10_000), DefaultBefore(50)] = 50
    save_s: Annotated[int, Range(5, 3600), DefaultBefore(180)] = 180
    setup: Annotated[tuple[str, ...], DefaultBefore(())] = ()
    additional: Annotated[Table[str], DefaultBefore(Table())] = field(default_factory=Table)


MOST_WORKERS = 64
CORES_VARIABLE = "AQR_EXP_CORES"
"""Environment variable with the cores of a training's slot, which may have fewer threads."""


@dataclass(frozen=True, kw_only=True)
class LauncherConfig:
    """The process a run gets.

    Attributes:
        loader_workers: Data loading processes; 0 loads in the training process. `auto` is one on a CPU,
            and on a GPU the cores of its share but one.
        threads: Torch threads; 0 takes every core, or those of its slot. One by default, so that `run`
            and `sweep` train alike: sums on a CPU may differ in the last bit between thread counts.
        checkpoint_minutes: Minutes without a checkpoint after which one is saved within an epoch; 0 saves
            at the ends of epochs only.
        gpus_per_run: Processes that train a run together, one a GPU; without GPUs, `threads` cores each.
            They share the samples of a step.
        slurm: How its jobs are submitted; of `slurm` only.
    """

    name: LauncherName
    device: Device
    loader_workers: Annotated[int | Literal["auto"], Range(0, MOST_WORKERS)]
    threads: Annotated[int, Range(0, 256)]
    checkpoint_minutes: Annotated[float, Range(0.0, 10_000.0), DefaultBefore(20.0)]
    gpus_per_run: Annotated[int, Range(1, 1024), DefaultBefore(1)]
    slurm: SlurmConfig | None = None


@dataclass(frozen=True, kw_only=True)
class StartConfig:
    """Fine-tuning from a checkpoint.

    Attributes:
        load_from: The checkpoint; empty trains from scratch.
        parts: Only what begins with one of these is taken from the checkpoint, all of it; the rest of
            the model starts at random and the rest of the checkpoint is not looked at. Empty takes all.
        sha256: Of the checkpoint's content; filled in from the file, not typed.
        freeze: Parameters whose names begin with one of these are not trained.
        rename: Modules of the checkpoint, each with the detector's name of it; `.` is the whole file.
        ignore: What begins with one of these in the checkpoint is not looked at.
        random: Begin although the recipe rests on a trained image backbone and none is loaded.
    """

    load_from: Annotated[str, NotInFingerprint()]
    sha256: str
    parts: Annotated[tuple[str, ...], DefaultBefore(())]
    freeze: tuple[str, ...]
    rename: Annotated[Table[str], DefaultBefore(Table())] = field(default_factory=Table)
    ignore: Annotated[tuple[str, ...], DefaultBefore(())] = ()
    random: Annotated[bool, NotInFingerprint(), DefaultBefore(False)] = False


@dataclass(frozen=True, kw_only=True)
class VariantSettings:
    """Settings of a variant; each variant derives a class with its parts (`VariantSpec.settings`).

    Attributes:
        name: The variant, which decides the class.
    """

    name: str


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything a run depends on.

    Attributes:
        launcher: Where it executes; never part of the identity.
        preset: Name of the preset the configuration came from.
        seed: Seed of everything random; the replicate axis, kept beside the fingerprint.
        evaluator: Whose code scores it; never part of the identity.
        metrics: Own metrics, by name, that are measured at its end; never part of the identity.
        start: What its weights start from; None trains from scratch and is not in the identity.
        sources: Hash of the sources of an idea; None of a shipped variant. Computed, not typed.
    """

    variant: VariantSettings
    model: ModelConfig
    data: DataConfig
    schedule: ScheduleConfig
    launcher: Annotated[LauncherConfig, NotInFingerprint()]
    preset: Annotated[str, NotInFingerprint()]
    seed: Annotated[int, Range(0, 2**31 - 1), NotInFingerprint()]
    evaluator: Annotated[Evaluator, NotInFingerprint(), DefaultBefore("official")]
    metrics: Annotated[tuple[str, ...], NotInFingerprint(), DefaultBefore(())] = ()
    start: StartConfig | None = None
    sources: str | None = None

    @property
    def rank_batch_size(self) -> int:
        """Samples of a step in one of the processes that train it."""
        return self.schedule.batch_size // self.launcher.gpus_per_run

    @property
    def samples_at_once(self) -> int:
        """Samples of a forward pass."""
        return self.rank_batch_size // self.schedule.accumulate
