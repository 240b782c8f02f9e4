"""A folder to work in and the command line used in it, each command a real process."""

import os
import subprocess
import sys
from pathlib import Path

SMOKE = ["preset=smoke", "launcher.threads=1", "launcher.device=cpu"]
# Three epochs of four steps; with a validation within them; and the last of them a stage of its own.
LASTS = ("schedule.epochs=3",)
CURVES = ("schedule.validate_every_epochs=2",)
STAGED = (
    *LASTS,
    "schedule.stages=[{epochs:2},{epochs:1,rotate_deg:90.0,drop_lidar:0.5}]",
    *CURVES,
)


class Workplace:
    """A folder to work in and the command line used in it."""

    def __init__(self, folder: Path, data: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.environment = {
            **os.environ,
            "AQR_EXP_DATA": str(data),
            "AQR_EXP_RESULTS": str(folder / "results"),
        }

    def aqr_exp(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess:
        done = subprocess.run(
            [sys.executable, "-m", "aqr_exp.cli.main", *arguments],
            capture_output=True,
            text=True,
            cwd=self.folder,
            env=self.environment,
            check=False,
        )
        assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def run(self, *overrides: str) -> Path:
        self.aqr_exp("run", "baseline", *SMOKE, *overrides)
        return self.only_run()

    def run_variant(self, variant: str, *overrides: str) -> Path:
        before = set(self.runs())
        self.aqr_exp("run", variant, *SMOKE, *overrides)
        (new,) = set(self.runs()) - before
        return new

    def runs(self) -> list[Path]:
        folder = self.folder / "results" / "runs"
        return sorted(folder.iterdir()) if folder.exists() else []

    def only_run(self) -> Path:
        (folder,) = self.runs()
        return folder
