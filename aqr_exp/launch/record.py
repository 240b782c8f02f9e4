"""The record of a run, written before it starts: identity, code, versions, hardware."""

import contextlib
import hashlib
import os
import platform
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from aqr_exp.config import MODULES, SOURCES
from aqr_exp.config.identity import (
    as_dict,
    fingerprint,
    launch_circumstances,
    run_name,
    setting_fingerprint,
    to_yaml,
)
from aqr_exp.config.schema import RunConfig
from aqr_exp.config.sources import PACKAGE, check_sources, modules_of, source_difference
from aqr_exp.config.variant_spec import spec_of, variant_specs
from aqr_exp.launch.preflight import installed_versions, machine
from aqr_exp.statistics.confounders import changed_modules, code_words, some_files
from aqr_exp.store.collect import RunRow, collect
from aqr_exp.store.run_folder import RunFolder, utc_now
from aqr_exp.store.store import Store


def build_record(
    config: RunConfig, *, overrides: Sequence[str], argv: Sequence[str]
) -> dict[str, Any]:
    """The content of `record.json`, as plain values.

    Args:
        config: The run, with its data's fingerprint.
        overrides: As typed after the variant.
    """
    spec, hardware = as_dict(config), machine()
    return {
        "name": run_name(config),
        "variant": config.variant.name,
        "fingerprint": fingerprint(config),
        "seed": config.seed,
        "preset": config.preset,
        "overrides": list(overrides),
        "argv": list(argv),
        "created": utc_now(),
        "data": {key: spec["data"][key] for key in ("name", "version", "fingerprint", "root")},
        "code": {**code_revision(PACKAGE.parent), MODULES: modules_of(spec_of(config.variant))},
        "versions": installed_versions(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "host": socket.gethostname(),
        "setting": setting_fingerprint(spec),
        "hardware": hardware | launch_circumstances(spec, hardware),
    }


def code_revision(checkout: Path) -> dict[str, Any]:
    """The revision of a git checkout that holds the package, and a SHA-256 of what differs from it.

    Returns:
        `revision`, `dirty` and `difference_sha256`; nothing for an installed package or without git.
    """
    if not (checkout / ".git").exists():
        return {}
    try:
        revision = git_output(checkout, "rev-parse", "HEAD").decode().strip()
        status = git_output(checkout, "status", "--porcelain", "-z")
        difference = git_output(
            checkout, "diff", "HEAD", "--binary", "--no-ext-diff", "--no-textconv"
        )
    except (OSError, subprocess.SubprocessError):
        return {}
    # The status names untracked files, which the difference does not hold.
    digest = hashlib.sha256(status + b"\0" + difference).hexdigest() if status else None
    return {"revision": revision, "dirty": bool(status), "difference_sha256": digest}


def changed_code(rows: Iterable[RunRow]) -> tuple[list[RunRow], str]:
    """The runs that this package would train with other code now, as far as can be known here.

    Returns:
        Those runs; and what has changed since, in words: a few files, or of runs of an older version
        the revision.
    """
    changed: list[RunRow] = []
    files: dict[str, None] = {}
    now: dict[str, dict[str, str]] = {}
    revision = ""
    for row in rows:
        if row.variant not in variant_specs() or "code" not in row.record:
            continue
        if row.modules:
            if row.variant not in now:
                now[row.variant] = modules_of(variant_specs()[row.variant])
            names = changed_modules(row.modules, now[row.variant])
        else:
            revision = revision or code_words(code_revision(PACKAGE.parent))
            then = code_words(row.record["code"])
            names = [] if then == revision else [f"the revision ({then}, now {revision})"]
        if names:
            changed.append(row)
            files |= dict.fromkeys(name.removeprefix(f"{PACKAGE.name}/") for name in names)
    return changed, some_files(files)


def edited_since(store: Store, asked: Iterable[tuple[RunConfig, Sequence[str]]]) -> Iterator[str]:
    """A line for each arm of an idea that was trained with other sources than those at hand.

    Args:
        asked: Runs, with the overrides that were typed for them.
    """
    arms = {fingerprint(config): (config, typed) for config, typed in asked if config.sources}
    rows = [row for row in collect(store) if row.edition] if arms else []
    trained = {row.fingerprint for row in rows}
    for arm, (config, typed) in arms.items():
        if arm in trained:
            continue
        alike = config.variant.name, setting_fingerprint(as_dict(config)), _words_of(typed)
        made = [
            row
            for row in rows
            if (row.variant, row.setting, _words_of(row.overrides.split())) == alike
        ]
        if not made:
            continue
        # Runs of one sweep are created within a second, to which times are stored.
        last = max(made, key=lambda row: (str(row.record.get("created")), row.seed))
        changed = source_difference(store.folder(last.name).read_sources(), check_sources(config))
        files = some_files(line[6:] for line in changed if line.startswith("+++ B/"))
        added, removed = (sum(line[0] == sign != line[1:2] for line in changed) for sign in "+-")
        since = f"changed since s{last.seed} (+{added} -{removed} lines)"
        yield f"{files} {since}: {config.variant.name} trains anew; the old run is kept"


def _words_of(typed: Sequence[str]) -> list[str]:
    return sorted(word for word in typed if not word.startswith("seed="))


def git_output(checkout: Path, *arguments: str) -> bytes:
    """What a git command prints; fails as `subprocess.run` does."""
    command = ["git", "-C", os.fspath(checkout), *arguments]
    return subprocess.run(command, capture_output=True, check=True, timeout=60).stdout


def create_run(folder: RunFolder, config: RunConfig, overrides: Sequence[str]) -> None:
    """Make the run's folder; one that another process made meanwhile is as good.

    Args:
        folder: A rerun's has another name than the run.
        config: The run, with its data's fingerprint.
        overrides: As typed after the variant.

    Raises:
        RequestError: The sources of its idea have changed.
        OSError: It could not be written; nothing is left behind.
    """
    record = {**build_record(config, overrides=overrides, argv=sys.argv), "name": folder.name}
    if files := check_sources(config):
        hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
        record[SOURCES] = {"digest": config.sources, "files": hashes}
    with contextlib.suppress(FileExistsError):
        folder.create(to_yaml(config), record, files)
