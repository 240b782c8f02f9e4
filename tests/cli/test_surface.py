import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from aqr_exp.cli.main import build_app

# Every command and option there is: a change here is a change of what people type.
SURFACE = {
    "": {"--debug", "--install-completion", "--show-completion", "--version"},
    "analyze": set(),
    "analyze bias": {"RUN", "--sample", "--queries", "--samples", "--output"},
    "analyze windows": {
        "VARIANT",
        "[OVERRIDES]...",
        "--sample",
        "--boxes",
        "--split",
        "--router",
        "--output",
    },
    "analyze softmax": {
        "--format",
        "--keys",
        "--plot",
        "--scales",
        "--weights",
        "--window-keys",
    },
    "cancel": {"NAME..."},
    "check": {"VARIANT", "[OVERRIDES]...", "--json"},
    "compare": {
        "A",
        "B",
        "--by",
        "--factor",
        "--format",
        "--metrics",
        "--paired",
        "--population",
        "--resamples",
        "--root",
        "--scenes",
        "--sesoi",
        "--split",
        "--strict",
        "--version",
    },
    "config": {"VARIANT", "[OVERRIDES]...", "--json"},
    "confirm": {
        "SWEEP",
        "[OVERRIDES]...",
        "--best",
        "--detach",
        "--dry-run",
        "--format",
        "--metric",
        "--seeds",
        "--slots",
    },
    "cost": {"RUN...", "--json", "--passes", "--samples"},
    "data": set(),
    "data check": {"--all", "--images", "--json", "--root", "--version"},
    "data failures": {"[OVERRIDES]...", "--out", "--sample", "--split"},
    "data prepare": {
        "--infos",
        "--json",
        "--keyframes-only",
        "--no-objects",
        "--merge-sweeps",
        "--objects",
        "--partial",
        "--root",
        "--version",
        "--workers",
    },
    "data show": {"N", "[OVERRIDES]...", "--augmented", "--epoch", "--out", "--split"},
    "data synth": {
        "--set",
        "--force",
        "--keyframes",
        "--root",
        "--seed",
        "--train-scenes",
        "--val-scenes",
        "--workers",
    },
    "doctor": {"--json"},
    "eval": {"RUN...", "--failures", "--json", "--metric"},
    "import": {
        "FILE...",
        "--json",
        "--root",
        "--seed",
        "--set",
        "--split",
        "--variant",
        "--version",
    },
    "new": {"NAME", "--from"},
    "list": {"--where", "--json"},
    "plot": set(),
    "plot classes": {"--where", "--of", "--output", "--width"},
    "plot curves": {"--where", "--loss", "--metric", "--of", "--output", "--width"},
    "plot differences": {
        "--where",
        "--baseline",
        "--metric",
        "--of",
        "--output",
        "--paired",
        "--population",
        "--sesoi",
        "--width",
    },
    "plot idea": {"NAME", "--where", "--of", "--output"},
    "plot looks": {"SWEEP", "--output", "--width"},
    "plot scale": {"--where", "--of", "--output", "--width"},
    "plot sweep": {"PARAMETER...", "--where", "--metric", "--of", "--output", "--width"},
    "resume": {"[NAME]...", "--detach", "--slots", "--steal"},
    "retry": {"[NAME]...", "--detach", "--failed", "--slots"},
    "run": {"VARIANT", "[OVERRIDES]...", "--dry-run", "--force", "--json"},
    "same": {"A", "B", "--json"},
    "show": {"RUN", "--json", "--sources"},
    "sweep": {
        "SWEEP",
        "[OVERRIDES]...",
        "--cancel-removed",
        "--detach",
        "--dry-run",
        "--fill",
        "--name",
        "--no-preflight",
        "--plan",
        "--json",
        "--slots",
        "--until-decided",
    },
    "demo": {"[FOLDER]"},
    "logs": {"--follow", "--lines", "NAME"},
    "du": {"--json", "[NAMES]..."},
    "rm": {"--checkpoints", "--yes", "NAMES..."},
    "export": {"--output", "--weights", "NAMES..."},
    "report": {
        "--conditions",
        "--output",
        "--population",
        "--sesoi",
        "--verify",
        "--where",
        "[SWEEP]",
    },
    "table": {
        "--at-epoch",
        "--baseline",
        "--by",
        "--factor",
        "--format",
        "--metrics",
        "--paired",
        "--population",
        "--reference",
        "--sesoi",
        "--sort",
        "--strict",
        "--sweep",
        "--trace",
        "--verify",
        "--where",
    },
    "watch": {"[SWEEP]", "--json", "--once"},
    "why": {"A", "B", "--json"},
    "work": {"NAME...", "--minutes", "--slots", "--until-idle"},
}


def surface(command: Any, path: str = "") -> dict[str, set[str]]:
    names = set()
    for parameter in command.params:
        options = [
            option
            for option in [*parameter.opts, *parameter.secondary_opts]
            if option.startswith("--")
        ]
        names |= set(options) or {parameter.metavar}
    found = {path: names}
    for name, child in getattr(command, "commands", {}).items():
        found |= surface(child.load(name), f"{path} {name}".strip())
    return found


def test_the_command_line_is_as_recorded() -> None:
    assert surface(typer.main.get_command(build_app())) == SURFACE


COUNT = """
import sys
from aqr_exp.cli.main import main
code = main(["--help"])
sys.stderr.write(str(sum(name.partition(".")[0] == "aqr_exp" for name in sys.modules)))
sys.exit(code)
"""


def test_help_imports_no_command() -> None:
    result = subprocess.run([sys.executable, "-c", COUNT], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert " doctor " in result.stdout
    assert int(result.stderr) < 8


HEAVY = ("torch", "mmengine", "mmcv", "mmdet", "mmdet3d", "nuscenes", "pandas")

PROBE = """
import sys
from aqr_exp.cli.main import main
code = main(sys.argv[2:])
bad = [name for name in sys.argv[1].split(",") if name in sys.modules]
sys.stderr.write("HEAVY: " + ",".join(bad) + "\\n")
sys.exit(code)
"""


@pytest.mark.parametrize(
    ("arguments", "forbidden"),
    [
        (["--help"], (*HEAVY, "hydra", "omegaconf", "numpy", "scipy", "yaml", "rich")),
        (["run", "--help"], (*HEAVY, "hydra", "omegaconf", "numpy", "scipy", "yaml", "rich")),
        (["analyze", "softmax"], (*HEAVY, "hydra", "yaml", "scipy", "rich", "matplotlib")),
        (["config", "baseline"], (*HEAVY, "numpy", "scipy", "rich")),
        (["config", "attention_bias", "bias_scale=3"], (*HEAVY, "numpy", "scipy", "rich")),
        (["list"], (*HEAVY, "hydra", "numpy", "scipy", "rich")),
        (["list", "--json"], (*HEAVY, "hydra", "numpy", "scipy", "rich")),
        (["table"], (*HEAVY, "hydra")),
        (["show", "SEED0"], (*HEAVY, "hydra")),
        (["run", "baseline"], HEAVY),
        (
            ["sweep", "smoke", "--dry-run"],
            (*HEAVY, "numpy", "scipy", "rich", "optuna", "matplotlib"),
        ),
        (["why", "baseline", "attention_bias"], (*HEAVY, "numpy", "scipy", "rich")),
    ],
)
def test_commands_that_answer_at_once_import_nothing_heavy(
    completed: Path, arguments: list[str], forbidden: tuple[str, ...]
) -> None:
    arguments = [
        next((completed / "runs").glob("*-s0")).name if a == "SEED0" else a for a in arguments
    ]
    command = [sys.executable, "-c", PROBE, ",".join(forbidden), *arguments]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stderr.splitlines()[-1] == "HEAVY: "
    assert result.stdout


@pytest.fixture
def completed(config: Any, store: Any) -> Path:
    """Two seeds of the default run, complete."""
    import dataclasses

    from aqr_exp.config.identity import run_name, to_yaml
    from aqr_exp.launch.record import build_record

    for seed in (0, 1):
        one = dataclasses.replace(config, seed=seed)
        folder = store.folder(run_name(one))
        folder.create(to_yaml(one), build_record(one, overrides=[], argv=[]))
        metrics = {"mAP": 0.25 + seed / 100, "NDS": 0.3, "split": "synth_val", "synthetic": True}
        folder.write_metrics(metrics)
        folder.write_state("completed")
    return Path(store.root)
