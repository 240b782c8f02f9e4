"""Every path in a run's folder. Nobody else joins paths below it."""

from pathlib import Path

STATE, RECORD, SPEC, METRICS = "state.json", "record.json", "spec.yaml", "metrics.json"
HISTORY, RECORDS = "history.jsonl", "records.npz"
# A folder is a run's when it holds one of these.
IDENTIFYING = (STATE, RECORD, SPEC)


class EvaluationPaths:
    """Where the files of an evaluation of a run are.

    Attributes:
        path: Its folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)

    @property
    def metrics_path(self) -> Path:
        """The metrics; written last, and only when all else is there."""
        return self.path / METRICS

    @property
    def records_path(self) -> Path:
        """Matches of the detections, by sample: what any metric on any part of the data needs."""
        return self.path / RECORDS

    def predictions_path(self, split: str) -> Path:
        """The detections.

        Args:
            split: The split they cover.
        """
        return self.path / f"{split}.json"


class RunPaths(EvaluationPaths):
    """Where the files of one run are: of its evaluation of record, and of all else.

    Attributes:
        path: The run's folder.
    """

    def __repr__(self) -> str:
        """The folder's path."""
        return f"{type(self).__name__}({str(self.path)!r})"

    @property
    def name(self) -> str:
        """The run's name."""
        return self.path.name

    @property
    def spec_path(self) -> Path:
        """The resolved configuration; never changed."""
        return self.path / SPEC

    @property
    def record_path(self) -> Path:
        """Identity, overrides, code revision, versions, hardware."""
        return self.path / RECORD

    @property
    def state_path(self) -> Path:
        """Status, attempt and reason."""
        return self.path / STATE

    @property
    def progress_path(self) -> Path:
        """Where a running process is."""
        return self.path / "progress.json"

    @property
    def history_path(self) -> Path:
        """Scalars, one JSON object a line."""
        return self.path / HISTORY

    @property
    def cost_path(self) -> Path:
        """What a forward pass of its detector costs; there once `aqr-exp cost` has measured it."""
        return self.path / "cost.json"

    @property
    def predictions_dir(self) -> Path:
        """Detections in nuScenes' result format."""
        return self.path / "predictions"

    def predictions_path(self, split: str) -> Path:
        """The final weights' detections.

        Args:
            split: The split they cover.
        """
        return self.predictions_dir / f"{split}.json"

    @property
    def failures_dir(self) -> Path:
        """Evaluations under sensor failures, one folder a case."""
        return self.path / "failures"

    def failure_paths(self, case: str) -> EvaluationPaths:
        """The evaluation under one sensor failure.

        Args:
            case: The case's name, such as `beams@4`.
        """
        return EvaluationPaths(self.failures_dir / case)

    @property
    def failures_lease_path(self) -> Path:
        """Held by the process that evaluates the run under sensor failures."""
        return self.path / ".failures"

    @property
    def failures_log_path(self) -> Path:
        """What the processes that evaluated under sensor failures printed."""
        return self.logs_dir / "failures.log"

    @property
    def checkpoints_dir(self) -> Path:
        """Weights and optimiser states."""
        return self.path / "checkpoints"

    @property
    def logs_dir(self) -> Path:
        """What the processes printed."""
        return self.path / "logs"

    @property
    def train_log_path(self) -> Path:
        """What the training process printed, all attempts."""
        return self.logs_dir / "train.log"

    @property
    def figures_dir(self) -> Path:
        """Pictures."""
        return self.path / "figures"

    @property
    def lease_path(self) -> Path:
        """Held by the training process for its lifetime."""
        return self.path / ".lease"

    @property
    def launch_lease_path(self) -> Path:
        """Held by the process that started the training process and waits for it."""
        return self.path / ".launch"

    @property
    def cancel_path(self) -> Path:
        """There while somebody wants the run to stop."""
        return self.path / ".cancel.json"
