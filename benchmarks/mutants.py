"""Mutants of the core modules: of small faults in the code, which do the module's own tests see?

Run `make mutants`, or with parts of paths: `make mutants MODULES="lease matching"`. For each module of
the table below a seed chooses some of cosmic-ray's mutations, at most one a line. Each is made in a copy
of the tracked files, and the module's unit tests are run there until one fails. One that no test kills
in time is shown with its difference, for a person to judge: it is equivalent, or harmless, or a hole in
the tests. docs/reliability.md keeps the result of the last time.

What the package is built on is imported once; the tests of each mutant run in a fork.
"""

import argparse
import ast
import contextlib
import difflib
import importlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
LOADED_ONCE = [
    "pytest", "hypothesis", "jaxtyping", "beartype", "msgspec", "psutil", "numpy", "scipy.stats", "pandas",
    "rich.console", "typer", "hydra", "omegaconf", "torch", "numba", "cv2", "optuna",
    "mmengine.runner", "mmdet3d.models", "mmdet3d.structures", "mmdet3d.datasets", "nuscenes",
]  # fmt: skip
MODULES = {
    "aqr_exp/aqr/bias.py": "aqr/test_bias.py",
    "aqr_exp/aqr/layout.py": "aqr/test_layout.py aqr/test_places.py",
    "aqr_exp/aqr/modulator.py": "aqr/test_modulator.py",
    "aqr_exp/aqr/renderer.py": "aqr/test_renderer.py aqr/test_render_methods.py",
    "aqr_exp/aqr/router.py": (
        "aqr/test_router.py aqr/test_router_controls.py aqr/test_sample_level_loss.py"
    ),
    "aqr_exp/aqr/scale.py": "aqr/test_scale.py aqr/test_shared_ranges.py",
    "aqr_exp/aqr/windows.py": (
        "aqr/test_windows.py aqr/test_window_sizes.py aqr/test_window_laws.py"
    ),
    "aqr_exp/aqr/statistics.py": "aqr/test_statistics.py",
    "aqr_exp/aqr/attention/correction.py": (
        "aqr/test_biased_attention.py aqr/test_watched_attention.py"
    ),
    "aqr_exp/aqr/attention/gathered.py": (
        "aqr/test_absorbed_windows.py aqr/test_window_kernels.py aqr/test_biased_attention.py"
    ),
    "aqr_exp/cmt/denoising.py": "cmt/test_denoising.py",
    "aqr_exp/cmt/losses.py": "cmt/test_losses.py cmt/test_matching.py",
    "aqr_exp/cmt/box_code.py": "cmt/test_box_code.py cmt/test_decode.py cmt/test_losses.py",
    "aqr_exp/evaluate/matching.py": (
        "evaluate/test_greedy_match.py evaluate/test_match_records.py "
        "evaluate/test_protocol_numbers.py"
    ),
    "aqr_exp/evaluate/records.py": (
        "evaluate/test_match_records.py evaluate/test_greedy_match.py "
        "evaluate/test_metric_conditions.py"
    ),
    "aqr_exp/evaluate/scorer.py": (
        "evaluate/test_weighted_scores.py evaluate/test_protocol_numbers.py "
        "evaluate/test_against_devkit.py"
    ),
    "aqr_exp/evaluate/weighting.py": (
        "evaluate/test_weighted_scores.py statistics/test_metric_values.py"
    ),
    "aqr_exp/evaluate/conditions.py": (
        "evaluate/test_metric_conditions.py evaluate/test_match_records.py"
    ),
    "aqr_exp/evaluate/ground_truth.py": "evaluate/test_ground_truth.py evaluate/test_attributes.py",
    "aqr_exp/evaluate/predictions.py": "evaluate/test_predictions.py",
    "aqr_exp/evaluate/boxes.py": (
        "evaluate/test_greedy_match.py evaluate/test_predictions.py evaluate/test_ground_truth.py"
    ),
    "aqr_exp/statistics/estimates.py": (
        "statistics/test_differences.py statistics/test_verdicts.py statistics/test_combination.py"
    ),
    "aqr_exp/statistics/differences.py": "statistics/test_differences.py",
    "aqr_exp/statistics/resampling.py": (
        "statistics/test_resampling.py statistics/test_differences.py"
    ),
    "aqr_exp/statistics/verdicts.py": "statistics/test_verdicts.py statistics/test_judging.py",
    "aqr_exp/statistics/dunnett.py": "statistics/test_dunnett.py statistics/test_judging.py",
    "aqr_exp/statistics/rule.py": "statistics/test_judging.py statistics/test_dunnett.py",
    "aqr_exp/statistics/judging.py": "statistics/test_judging.py statistics/test_differences.py",
    "aqr_exp/statistics/seed_checks.py": (
        "statistics/test_judging.py report/tables/test_comparisons_shown.py"
    ),
    "aqr_exp/statistics/noise.py": (
        "statistics/test_noise.py statistics/test_combination.py statistics/test_judging.py"
    ),
    "aqr_exp/statistics/confounders.py": (
        "statistics/test_fairness.py statistics/test_code_version.py"
    ),
    "aqr_exp/statistics/grouping.py": "statistics/test_fairness.py report/tables/test_arm_table.py",
    "aqr_exp/statistics/run_scores.py": (
        "statistics/test_resampling.py statistics/test_metric_values.py"
    ),
    "aqr_exp/store/lease.py": "store/test_lease.py",
    "aqr_exp/store/run_files.py": (
        "store/test_checksum.py store/test_integrity.py store/test_verify.py"
    ),
    "aqr_exp/store/verify.py": "store/test_verify.py store/test_integrity.py store/test_trace.py",
    "aqr_exp/store/process_identity.py": "store/test_process_identity.py store/test_lease.py",
    "aqr_exp/store/counting.py": (
        "store/test_collect.py store/test_run_folder.py sweep/test_standing.py"
    ),
    "aqr_exp/files/atomic.py": "files/test_atomic.py files/test_hostile_files.py",
    "aqr_exp/files/reading.py": "files/test_atomic.py files/test_hostile_files.py",
    "aqr_exp/files/checksum.py": (
        "files/test_atomic.py store/test_checksum.py cli/test_belonging.py"
    ),
    "aqr_exp/files/foreign.py": "files/test_foreign.py",
    "aqr_exp/train/checkpoint.py": (
        "train/test_keep_checkpoints.py train/test_run_checkpoint.py "
        "train/test_start_parts.py train/test_freezing.py"
    ),
    "aqr_exp/launch/scheduler.py": "launch/test_scheduler.py",
    "aqr_exp/launch/executor.py": "launch/test_executors.py launch/test_scheduler.py",
    "aqr_exp/launch/slots.py": "launch/test_slots.py launch/test_hardware.py",
    "aqr_exp/data/dataset.py": "data/test_sampling.py data/transforms/test_multisweep.py",
    "aqr_exp/data/transforms/geometry.py": (
        "data/transforms/test_scene_geometry.py data/transforms/test_image_geometry.py"
    ),
    "aqr_exp/data/geometry.py": "data/test_box_geometry.py data/test_geometry.py",
    "aqr_exp/data/gt_database/paste.py": (
        "data/gt_database/test_choosing.py data/gt_database/test_painting.py data/test_geometry.py"
    ),
    "aqr_exp/data/gt_database/store.py": (
        "data/test_info_files.py data/test_planted_data.py data/gt_database/test_painting.py"
    ),
    "aqr_exp/data/gt_database/build.py": "data/test_geometry.py data/test_info_files.py",
    "aqr_exp/config/identity.py": (
        "config/test_identity.py config/test_difference.py config/test_setting.py"
    ),
    "aqr_exp/config/data_files.py": "data/test_changed_files.py",
}
"""The unit tests of each module."""

ARITHMETIC = {"Add", "Sub", "Mul", "Div", "FloorDiv", "Mod", "Pow"}
IDENTITY = {"Is", "IsNot"}
Place = tuple[int, int]
Mutant = tuple[int, str, str]
"""Line, operator and the module's text."""


def mutations(path: Path) -> Iterator[tuple[Place, str, Callable[[], str]]]:
    """Place, operator and text of every mutation of a module."""
    from cosmic_ray.commands.init import _all_work_items
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator

    source = path.read_text()
    unseen = annotations(source)
    for item in _all_work_items([path], {}):
        (spec,) = item.mutations
        if any(first <= spec.start_pos < last for first, last in unseen):
            continue
        operator, number = get_operator(spec.operator_name)(), spec.occurrence
        name = spec.operator_name.removeprefix("core/")
        if of_one_kind(name):
            yield spec.start_pos, name, partial(mutate_code, source, operator, number)


def annotations(source: str) -> list[tuple[Place, Place]]:
    """Beginning and end of every annotation."""
    nodes = ast.walk(ast.parse(source))
    parts = (getattr(node, name, None) for node in nodes for name in ("annotation", "returns"))
    return [
        ((part.lineno, part.col_offset), (part.end_lineno or 0, part.end_col_offset or 0))
        for part in parts
        if isinstance(part, ast.expr)
    ]


def of_one_kind(operator: str) -> bool:
    """Whether one operator becomes another of its kind; a TypeError would kill what does not."""
    kind, *names = operator.split("_")
    if kind == "ReplaceBinaryOperator":
        return len(ARITHMETIC.intersection(names)) != 1
    if kind == "ReplaceComparisonOperator":
        return len(IDENTITY.intersection(names)) != 1
    return "Invert" not in names or "Delete" in names


def sample(path: Path, count: int, seed: str) -> list[Mutant]:
    """Mutants of a module: every place is as likely, whatever number of mutations it has."""
    groups: dict[tuple[Place, str], list[tuple[str, Callable[[], str]]]] = {}
    for place, operator, text in mutations(path):
        groups.setdefault((place, operator.split("_")[0]), []).append((operator, text))
    draw, order = random.Random(seed), sorted(groups)  # noqa: S311 - no secret
    draw.shuffle(order)
    chosen: dict[int, Mutant] = {}
    for group in order:
        (line, _), _ = group
        if len(chosen) == count or line in chosen:
            continue
        operator, text = draw.choice(groups[group])
        with contextlib.suppress(AttributeError, SyntaxError):  # cosmic-ray's own, here and there
            mutated = text()
            compile(mutated, path, "exec")
            if mutated != path.read_text():
                chosen[line] = line, operator, mutated
    return sorted(chosen.values())


def run_tests(tests: list[str], output: Path, seconds: float) -> tuple[str, str]:
    """Run tests in a fork of this process, until one fails.

    Returns:
        `passed`, `failed` or `late`, and the test that failed or the end of the output.
    """
    child = os.fork()
    if not child:
        be_pytest(tests, output)
    end, code = time.monotonic() + seconds, None
    while code is None and time.monotonic() < end:
        ended, status = os.waitpid(child, os.WNOHANG)
        code = os.waitstatus_to_exitcode(status) if ended else None
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    if code is None:
        os.waitpid(child, 0)
        return "late", ""
    text = output.read_text(errors="replace")
    failed = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", text, re.MULTILINE)
    return "failed" if code else "passed", failed[1] if failed else text[-500:]


def be_pytest(tests: list[str], output: Path) -> None:
    """Be pytest from here to this process's end."""
    code = 99
    try:
        os.setsid()
        with output.open("wb") as file:
            for stream in (1, 2):
                os.dup2(file.fileno(), stream)
        import pytest

        leave = [f"-pno:{name}" for name in ("randomly", "cacheprovider", "xdist")]
        # The plugins' modules are there before pytest can rewrite their assertions.
        known = ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
        place = f"--basetemp={output.with_name('basetemp')}"
        code = pytest.main(["-x", "--tb=line", *leave, *known, "-m", "not slow", place, *tests])
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def copy_tracked(tree: Path) -> None:
    """Copy the tracked files as they are now."""
    listed = ["git", "-C", os.fspath(REPOSITORY), "ls-files", "-z"]
    names = subprocess.run(listed, check=True, capture_output=True, text=True).stdout.split("\0")
    for name in filter(None, names):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(REPOSITORY / name, tree / name)


def work_in(tree: Path) -> None:
    """Take the package from the copy, here and in every process of a test, and load what it needs."""
    os.chdir(tree)
    sys.path.insert(0, os.fspath(tree))
    # A mutant has its module's size and second: kept bytecode would pass for it.
    sys.dont_write_bytecode = True
    os.environ |= {
        "PYTHONPATH": os.fspath(tree),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
    }
    import aqr_exp  # noqa: F401 - lets mmdet3d be imported without compiled operators

    for name in LOADED_ONCE:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    for name in [name for name in sys.modules if name.partition(".")[0] == "aqr_exp"]:
        del sys.modules[name]


def try_mutants(
    tree: Path, module: str, tests: list[str], mutants: list[Mutant], limit_s: float
) -> None:
    """Run a module's tests on each of its mutants and print what became of it."""
    path, output = tree / module, tree.with_name("output.txt")
    source, began = path.read_text(), time.monotonic()
    outcome, detail = run_tests(tests, output, 10 * limit_s)
    if outcome != "passed":
        sys.exit(f"{module}: its tests fail as it is: {detail}")
    limit_s = max(limit_s, 3 * (time.monotonic() - began))
    survivors = []
    for line, operator, mutated in mutants:
        path.write_text(mutated)
        outcome, detail = run_tests(tests, output, limit_s)
        path.write_text(source)
        print(f"  {module}:{line} {operator}: {outcome} {detail}".rstrip()[:200], flush=True)
        if outcome == "passed":
            lines = (source.splitlines(), mutated.splitlines())
            survivors += [*difflib.unified_diff(*lines, module, operator, lineterm="", n=1)]
    count = sum(line.startswith("+++") for line in survivors)
    print(f"{module}: {len(mutants)} mutants, {len(mutants) - count} killed", flush=True)
    print("\n".join(survivors), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("modules", nargs="*", help="parts of paths; every module without any")
    parser.add_argument("--each", type=int, default=5, help="mutants of a module")
    parser.add_argument("--seed", default="0")
    parser.add_argument("--limit-s", type=float, default=60.0, help="for the tests of a mutant")
    given = parser.parse_args()
    sys.path.append(os.fspath(REPOSITORY / "build" / "cosmic-ray"))
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        copy_tracked(tree)
        work_in(tree)
        for module, tests in MODULES.items():
            if given.modules and not any(part in module for part in given.modules):
                continue
            mutants = sample(tree / module, given.each, f"{given.seed} {module}")
            files = [f"tests/{name}" for name in tests.split()]
            try_mutants(tree, module, files, mutants, given.limit_s)


if __name__ == "__main__":
    main()
