"""Two editions of the package on two steps of the same runs: do losses and weights have the same bits?"""

import io
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import yaml

import aqr_exp.train
from aqr_exp.config.idea_files import search_environment
from aqr_exp.config.identity import from_spec
from aqr_exp.config.inputs import with_data_identity
from aqr_exp.config.sources import PACKAGE, parse
from aqr_exp.errors import AqrExpError, RequestError
from aqr_exp.files.atomic import replace_json
from aqr_exp.launch.measuring import NO_GPU, ONE_BLAS_THREAD
from aqr_exp.launch.record import git_output
from aqr_exp.statistics.confounders import changed_modules, code_pair, some_files
from aqr_exp.store.collect import RunRow
from aqr_exp.store.run_folder import RunFolder
from aqr_exp.store.store import Store

_PROGRAM = Path(aqr_exp.train.__file__).with_name("step_bits.py")


def compare_code(ours: RunRow, theirs: RunRow, store: Store) -> tuple[bool, str]:
    """Make two steps of both runs with the code of each, and keep the answer among the results.

    Returns:
        Whether all bits agree; and the files that differ.

    Raises:
        RequestError: The code of one cannot be had here, or an input of one has changed.
        AqrExpError: The steps could not be made.
    """
    changed = changed_modules(ours.modules, theirs.modules)
    if not changed:
        known = ours.modules and theirs.modules
        why = "were made by the same code" if known else "are of an older version: nothing is known"
        raise RequestError(f"{ours.name} and {theirs.name} {why}")
    with tempfile.TemporaryDirectory(prefix="aqr-exp-same-") as place:
        roots = [edition_of(row, Path(place, side)) for row, side in ((ours, "A"), (theirs, "B"))]
        bits = [
            _bits(
                root,
                [store.folder(row.name) for row in (ours, theirs)],
                Path(place, f"{side}.runs"),
            )
            for root, side in zip(roots, "AB", strict=True)
        ]
    same = bits[0] == bits[1]
    store.same_code_dir.mkdir(parents=True, exist_ok=True)
    answer = {"same": same, "runs": [ours.name, theirs.name], "files": changed}
    replace_json(store.same_code_dir / f"{code_pair(ours, theirs)}.json", answer)
    return same, some_files(changed)


def edition_of(row: RunRow, place: Path) -> Path:
    """The folder to import the package from as a run did: this one, or its revision from git.

    Raises:
        RequestError: Its code is not in the repository.
    """
    folder = PACKAGE.parent
    if _holds(folder, row):
        return folder
    revision = str(row.record["code"].get("revision"))
    if not (folder / ".git").exists() or not re.fullmatch(r"[0-9a-f]{40,64}", revision):
        raise RequestError(f"the code of {row.name} cannot be had: the package is no git checkout")
    try:
        packed = git_output(folder, "archive", "--format=zip", revision, "--", PACKAGE.name)
    except (OSError, subprocess.SubprocessError):
        raise RequestError(f"the code of {row.name}, {revision[:12]}, is not in {folder}") from None
    # Not tar: older patch versions of Python cannot hold its members within the folder.
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        archive.extractall(place)
    if not _holds(place, row):
        raise RequestError(f"{row.name} was made by changes that {revision[:12]} does not have")
    return place


def _holds(folder: Path, row: RunRow) -> bool:
    try:
        return all(
            parse((folder / name).read_bytes()).digest == digest
            for name, digest in row.modules.items()
        )
    except OSError:
        return False


def _bits(root: Path, folders: Sequence[RunFolder], place: Path) -> list[str]:
    """The bits of two steps of each run on the CPU, with one thread and the package below `root`."""
    drafts = []
    for folder in folders:
        spec: dict[str, Any] = folder.read_spec()
        with_data_identity(from_spec(spec))
        spec["launcher"] |= {"device": "cpu", "threads": 1, "loader_workers": 0}
        spec["schedule"]["log_every_steps"] = 1
        drafts.append(RunFolder(place / folder.name))
        drafts[-1].create(yaml.safe_dump(spec), {})
    path = os.pathsep.join(filter(None, (os.fspath(root), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, **search_environment(), **ONE_BLAS_THREAD, **NO_GPU}
    environment |= {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", _PROGRAM.read_text(), *(str(draft.path) for draft in drafts)]
    done = subprocess.run(
        command, cwd=place, env=environment, capture_output=True, text=True, check=False
    )
    answers = [msgspec.json.decode(line) for line in done.stdout.splitlines()]
    if len(answers) < len(drafts):
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise AqrExpError(f"the steps could not be made with the code in {root}: {last}")
    for folder, answer in zip(folders, answers, strict=True):
        if "fault" in answer:
            raise AqrExpError(f"{folder.name}, with the code in {root}: {answer['fault']}")
    return [answer["bits"] for answer in answers]
