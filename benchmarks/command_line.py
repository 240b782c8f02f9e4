"""Time that the command line takes to answer, beside `import typer`, interleaved in one run.

Run `make bench`. Prints one line a command: median seconds and the ratio to `import typer`, which is to
be at most 1.4 for `--help` and 2 for `list`. Bytecode is cached, as an installation has it.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time

ROUNDS = 9
COMMANDS = {
    "bare python": ["-c", "pass"],
    "import typer": ["-c", "import typer"],
    "aqr-exp --help": ["-m", "aqr_exp.cli.main", "--help"],
    "aqr-exp list": ["-m", "aqr_exp.cli.main", "list"],
    "aqr-exp config baseline": ["-m", "aqr_exp.cli.main", "config", "baseline"],
}


def seconds(arguments: list[str], environment: dict[str, str]) -> float:
    """Wall time of one process."""
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, env=environment
    )
    return time.perf_counter() - started


def main() -> None:
    """Measure and print."""
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.TemporaryDirectory() as folder:
        environment["PYTHONPYCACHEPREFIX"] = folder
        for _ in range(ROUNDS + 1):
            for name, arguments in COMMANDS.items():
                times[name].append(seconds(arguments, environment))
    typer = statistics.median(times["import typer"][1:])
    for name, measured in times.items():
        median = statistics.median(measured[1:])  # the first round fills the caches
        print(f"{name:26s} {median:6.3f} s   {median / typer:6.2f} x import typer")


if __name__ == "__main__":
    main()
