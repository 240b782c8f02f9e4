"""How many processes load a training's samples, and how they hand them over."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from aqr_exp.config.identity import launch_circumstances, run_name
from aqr_exp.config.load import load_run
from aqr_exp.data import pipeline
from aqr_exp.data.workers import loader_workers, loading_processes, trains_on_gpu
from aqr_exp.errors import RequestError
from aqr_exp.launch.slots import gpu_slots, usable_cores
from aqr_exp.train.runner_config import register_plugins


@pytest.mark.parametrize(
    ("typed", "variables", "on_gpu", "count"),
    [
        ([], {"AQR_EXP_CORES": "8"}, True, 7),
        ([], {"AQR_EXP_CORES": "8"}, False, 1),
        ([], {"AQR_EXP_CORES": "1"}, True, 1),
        ([], {"AQR_EXP_CORES": "500"}, True, 64),
        ([], {"AQR_EXP_CORES": "32", "LOCAL_WORLD_SIZE": "4"}, True, 7),
        ([], {"AQR_EXP_CORES": "3,2", "LOCAL_WORLD_SIZE": "4096"}, True, 1),
        (["launcher.loader_workers=5"], {"AQR_EXP_CORES": "8"}, True, 5),
        (["launcher.loader_workers=0"], {"AQR_EXP_CORES": "8"}, True, 0),
        (["launcher=debug"], {"AQR_EXP_CORES": "8"}, True, 0),
    ],
)
def test_auto_takes_the_cores_of_a_gpu_but_one(
    typed: list[str],
    variables: dict[str, str],
    on_gpu: bool,
    count: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # a training has one thread unless it is told
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    config = load_run("baseline", typed)
    assert loading_processes(config.launcher, on_gpu=on_gpu) == count


@pytest.mark.parametrize(
    ("typed", "hint"), [("atuo", ": did you mean 'auto'?"), ("-1", ""), ("65", ""), ("true", "")]
)
def test_other_values_are_refused_with_what_is_allowed(typed: str, hint: str) -> None:
    with pytest.raises(RequestError) as caught:
        load_run("baseline", [f"launcher.loader_workers={typed}"])
    shown = {"atuo": "'atuo'", "true": "True"}.get(typed, typed)
    rule = f"must be a whole number from 0 to 64 or auto{hint}"
    assert str(caught.value) == f"launcher.loader_workers={shown}: {rule}"


def test_a_slot_gives_its_training_the_cores_of_its_share() -> None:
    slots = gpu_slots(["0", "1"])
    assert [slot.environment["AQR_EXP_CORES"] for slot in slots] == [str(slots[0].threads)] * 2
    assert slots[0].threads == max(1, usable_cores() // 2)


def test_the_number_is_in_no_name() -> None:
    names = {
        run_name(load_run("baseline", [f"launcher.loader_workers={count}"]))
        for count in ("auto", "1", "9")
    }
    assert len(names) == 1


def test_one_worker_and_auto_are_alike_on_a_cpu() -> None:
    def workers(count: Any, device: str, gpus: list[str]) -> Any:
        spec = {"launcher": {"device": device, "threads": 1, "loader_workers": count}}
        return launch_circumstances(spec, {"cpus": 8, "gpus": gpus})["loader_workers"]

    assert workers("auto", "auto", []) == workers(1, "auto", []) == 1
    assert workers("auto", "cpu", ["H200"]) == 1
    assert workers("auto", "auto", ["H200"]) == "auto"
    assert workers(3, "auto", ["H200"]) == 3


def test_a_gpu_gets_pinned_batches_of_workers_that_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_run("baseline", ["launcher.loader_workers=3"])

    def settings(*, training: bool, workers: int | None = None) -> tuple[Any, ...]:
        made = pipeline.dataloader_config(
            config, "synth_train", training=training, batch_size=2, workers=workers
        )
        return tuple(made[key] for key in ("num_workers", "persistent_workers", "pin_memory"))

    assert settings(training=True) == (3, False, False)
    monkeypatch.setattr(pipeline, "trains_on_gpu", lambda launcher: launcher.device != "cpu")
    assert settings(training=True) == (3, True, True)
    assert settings(training=False) == (3, False, True)
    assert settings(training=True, workers=0) == (0, False, True)  # torch refuses workers that stay
    config = dataclasses.replace(
        config, launcher=dataclasses.replace(config.launcher, device="cpu")
    )
    assert settings(training=True) == (3, False, False)
    assert not trains_on_gpu(config.launcher)


def test_workers_that_stay_load_each_epoch_what_new_ones_would(
    synth_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmengine.runner import Runner

    register_plugins()
    typed = [f"data.root={str(synth_root)!r}", "launcher.loader_workers=1"]
    config = load_run("baseline", typed)

    def epochs(workers: int | None) -> list[torch.Tensor]:
        loader = Runner.build_dataloader(
            pipeline.dataloader_config(
                config, "synth_train", training=True, batch_size=2, workers=workers
            )
        )
        found = []
        for epoch in (0, 1):
            loader.sampler.set_epoch(epoch)
            if epoch:
                loader.sampler.leave_out(2)  # as a run that continues within an epoch
            batches = [batch["inputs"]["img"] for batch in loader]
            assert all(image.dtype == torch.uint8 for images in batches for image in images)
            found.append(torch.stack([image for images in batches for image in images]))
        return found

    fresh = epochs(0)
    monkeypatch.setattr(pipeline, "trains_on_gpu", lambda _launcher: True)
    with loader_workers():
        stayed = epochs(None)
    assert [len(images) for images in stayed] == [len(fresh[0]), len(fresh[0]) - 2]
    assert all(torch.equal(one, other) for one, other in zip(fresh, stayed, strict=True))
