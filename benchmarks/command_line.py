"""How long the command line takes to answer, beside bare Python, interleaved in one run.

Run `make bench`. Prints one line a command: median seconds and the ratio to a bare interpreter.
"""

import statistics
import subprocess
import sys
import time

ROUNDS = 9
COMMANDS = {
    "bare python": ["-c", "pass"],
    "import typer": ["-c", "import typer"],
    "aqr-exp --help": ["-m", "aqr_exp.cli.main", "--help"],
    "aqr-exp list": ["-m", "aqr_exp.cli.main", "list"],
    "aqr-exp config baseline": ["-m", "aqr_exp.cli.main", "config", "baseline"],
}


def seconds(arguments: list[str]) -> float:
    """Wall time of one process."""
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    """Measure and print."""
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(ROUNDS + 1):
        for name, arguments in COMMANDS.items():
            times[name].append(seconds(arguments))
    bare = statistics.median(times["bare python"][1:])
    for name, measured in times.items():
        median = statistics.median(measured[1:])  # the first round warms the file cache
        print(f"{name:26s} {median:6.3f} s   {median / bare:6.1f} x bare python")


if __name__ == "__main__":
    main()
