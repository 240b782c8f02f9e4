"""Result files of any nuScenes detector as completed runs: scored here, with match records."""

import contextlib
import json
import os
import re
import shutil
import socket
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from aqr_exp.config import IMPORTED
from aqr_exp.config.identity import as_dict, setting_fingerprint, short_hash
from aqr_exp.config.inputs import identity_path, read_data_identity
from aqr_exp.config.schema.description import NUSCENES
from aqr_exp.data.nuscenes_tables import is_training, splits_of
from aqr_exp.errors import AqrExpError, Fault, RequestError, shown
from aqr_exp.evaluate.conditions import RunScorer
from aqr_exp.evaluate.evaluation import make_records
from aqr_exp.evaluate.ground_truth import GroundTruth, load_ground_truth
from aqr_exp.evaluate.predictions import Predictions, read_predictions
from aqr_exp.evaluate.records import write_records
from aqr_exp.files.atomic import clear_litter, draft_of
from aqr_exp.files.reading import file_sha256
from aqr_exp.files.run_name import RunName
from aqr_exp.files.suggest import did_you_mean, some
from aqr_exp.statistics.resampling import samples_digest
from aqr_exp.store.run_folder import RunFolder, utc_now
from aqr_exp.store.status import RunStatus
from aqr_exp.store.store import Store

IN_A_WORK_FOLDER = "results_nusc.json"
"""The name that mmdet3d gives its result file."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.]*")


@dataclass(frozen=True, kw_only=True)
class Detector:
    """What is said of the detector that made a result file.

    Attributes:
        variant: The arm it is shown as.
        settings: What tells it from others of that name, by key.
    """

    variant: str
    settings: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.variant):
            rule = "letters, digits, _, and . but not first"
            raise RequestError(Fault("--variant", shown(self.variant), f"is no name: {rule}"))


@dataclass(frozen=True, kw_only=True)
class Data:
    """The data that result files are scored on, with their ground truth."""

    root: Path
    version: str
    split: str
    truth: GroundTruth

    @classmethod
    def of(cls, root: Path, version: str, split: str | None) -> "Data":
        """Read the ground truth; without `split`, of the only one that is not trained on.

        Raises:
            RequestError: There is no such split, or none or several to choose from.
            AqrExpError: A table is missing or damaged; names it.
        """
        there = splits_of(root, version)
        if split is None:
            validation = [name for name in there if not is_training(name)]
            if len(validation) != 1:
                raise RequestError(f"say which split with --split (there: {', '.join(there)})")
            (split,) = validation
        elif split not in there:
            hint = f"{did_you_mean(split, there)} (there: {', '.join(there)})"
            raise RequestError(Fault("--split", split, "no such split", hint))
        truth = load_ground_truth(root, version, split)
        return cls(root=root, version=version, split=split, truth=truth)

    @property
    def identity(self) -> dict[str, Any]:
        """The fingerprint of prepared data, and whether they are synthetic; of raw tables neither."""
        return read_data_identity(self.root) if identity_path(self.root).is_file() else {}


@contextlib.contextmanager
def result_file(path: Path) -> Iterator[Path]:
    """The result file at a path: itself, the only one in a `.zip`, or the `results_nusc.json` in a folder.

    Raises:
        RequestError: There is none, or several.
    """
    if path.is_dir():
        found = sorted(path.rglob(IN_A_WORK_FOLDER))
        names = [str(each.relative_to(path)) for each in found]
        yield found[_only(path, names, IN_A_WORK_FOLDER)]
    elif path.suffix == ".zip" and path.is_file():
        with tempfile.TemporaryDirectory() as folder:
            unpacked = Path(folder) / "results.json"
            _unpack(path, unpacked)
            yield unpacked
    else:
        yield path


def _unpack(path: Path, target: Path) -> None:
    try:
        with zipfile.ZipFile(path) as packed:
            names = [name for name in packed.namelist() if name.endswith(".json")]
            name = names[_only(path, names, ".json file")]
            with packed.open(name) as source, target.open("xb") as file:
                shutil.copyfileobj(source, file, 1 << 20)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError) as error:
        raise RequestError(f"{path} cannot be unpacked: {error}") from None


def _only(path: Path, names: list[str], what: str) -> int:
    if len(names) == 1:
        return 0
    several = f"{len(names)} of them: {some(names)}: name one" if names else "none"
    raise RequestError(f"{path} must hold one {what}, and holds {several}")


def import_results(
    store: Store, path: Path, detector: Detector, data: Data, seed: int | None = None
) -> tuple[RunFolder, bool]:
    """Score a result file and keep it as a completed run.

    Args:
        path: As `result_file` takes it.
        seed: The replicate; None takes the first that no other file has.

    Returns:
        The run, and whether it is new: the same file is imported once.

    Raises:
        RequestError: The file is refused, naming the place; or the seed is another file's.
        OSError: The run could not be written; nothing is left behind.
    """
    spec = _spec(detector, data)
    identity = short_hash(json.dumps(spec, sort_keys=True))
    name = RunName(detector.variant, identity, 0 if seed is None else seed)
    with result_file(path) as file:
        try:
            sha256 = file_sha256(file)
        except OSError as error:
            raise RequestError(f"{path} cannot be read: {error.strerror}") from None
        taken = _seeds(store, name.arm)
        if sha256 in taken.values() and (seed is None or taken.get(seed) == sha256):
            known = seed if seed is not None else min(s for s in taken if taken[s] == sha256)
            return store.folder(str(RunName(name.variant, name.fingerprint, known))), False
        if seed is None:
            seed = next(number for number in range(len(taken) + 1) if number not in taken)
        elif seed in taken:
            raise RequestError(
                Fault("--seed", str(seed), f"{name.arm} has another file with this seed")
            )
        run = store.folder(str(RunName(name.variant, name.fingerprint, seed)))
        predictions = read_predictions(file, data.truth, str(path))
        record = _record(run.name, path, sha256, detector, data)
        _write(run, file, predictions, {**spec, "seed": seed}, record, data)
    return run, True


def _seeds(store: Store, arm: str) -> dict[int, str | None]:
    """The SHA-256 of the result file of each seed of an arm that is there."""
    found: dict[int, str | None] = {}
    for text in store.names():
        name = RunName.parse(text)
        if name and name.arm == arm:
            with contextlib.suppress(AqrExpError):
                found[name.seed] = store.folder(text).read_metrics().get("predictions_sha256")
            found.setdefault(name.seed, None)
    return found


def _spec(detector: Detector, data: Data) -> dict[str, Any]:
    """What is known of the configuration: the detector and its data."""
    settings = {"settings": dict(detector.settings)} if detector.settings else {}
    description = data.truth.description
    described = {} if description == NUSCENES else {"description": as_dict(description)}
    return {
        IMPORTED: True,
        "variant": {"name": detector.variant, **settings},
        "data": {
            "version": data.version,
            "val_split": data.split,
            "fingerprint": data.identity.get("fingerprint", ""),
            "samples": samples_digest(data.truth.samples),
        }
        | described,
    }


def _record(name: str, path: Path, sha256: str, detector: Detector, data: Data) -> dict[str, Any]:
    spec, parts = _spec(detector, data), RunName.parse(name)
    return {
        "name": name,
        "variant": detector.variant,
        "fingerprint": parts and parts.fingerprint,
        "seed": parts and parts.seed,
        "preset": IMPORTED,
        "overrides": [f"{key}={value}" for key, value in detector.settings.items()],
        "created": utc_now(),
        "host": socket.gethostname(),
        "data": {
            "name": data.root.name,
            "version": data.version,
            "fingerprint": spec["data"]["fingerprint"],
            "root": os.fspath(data.root.absolute()),
        },
        "setting": setting_fingerprint(spec),
        IMPORTED: {"file": os.fspath(path.absolute()), "sha256": sha256},
    }


def _write(
    run: RunFolder,
    file: Path,
    predictions: Predictions,
    spec: Mapping[str, Any],
    record: Mapping[str, Any],
    data: Data,
) -> None:
    """Score the detections and make the run's folder, complete, in one step."""
    records = make_records(data.truth, predictions)
    run.path.parent.mkdir(parents=True, exist_ok=True)
    clear_litter(run.path.parent)
    # Of the run's own name, which its checksums hold, in a hidden folder until it is whole.
    hidden = draft_of(run.path)
    draft = RunFolder(hidden / run.name)
    try:
        draft.create(yaml.safe_dump(dict(spec), sort_keys=False), record)
        copy = draft.predictions_path(data.split)
        shutil.copyfile(file, copy)
        sha256 = file_sha256(copy)
        if sha256 != record[IMPORTED]["sha256"]:
            raise RequestError(f"{record[IMPORTED]['file']} changed while it was read")
        write_records(draft.records_path, records)
        draft.write_metrics(
            {
                **RunScorer(records).scores().metrics(),
                "split": data.split,
                "evaluator": "aqr",
                "predictions_sha256": sha256,
                "records_sha256": file_sha256(draft.records_path),
                "synthetic": data.identity.get("synthetic", False),
            }
        )
        draft.write_state(RunStatus.COMPLETED)
        draft.path.rename(run.path)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
