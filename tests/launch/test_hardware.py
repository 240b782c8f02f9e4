from pathlib import Path

import pytest

from aqr_exp.launch import preflight


def test_the_machine_is_described(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cpu_info = tmp_path / "cpuinfo"
    cpu_info.write_text("processor\t: 0\nmodel name\t: AMD EPYC 9B14 \nmodel name\t: other\n")
    for bus, model in (("0000:02", "NVIDIA H200"), ("0000:01", "NVIDIA A100: 80GB")):
        (tmp_path / "gpus" / bus).mkdir(parents=True)
        (tmp_path / "gpus" / bus / "information").write_text(f"Model: \t {model}\nIRQ: 3\n")
    monkeypatch.setattr(preflight, "CPU_INFO", cpu_info)
    monkeypatch.setattr(preflight, "NVIDIA_GPUS", tmp_path / "gpus")
    found = preflight.machine()
    assert found["processor"] == "AMD EPYC 9B14"
    assert found["gpus"] == ["NVIDIA A100: 80GB", "NVIDIA H200"]
    assert found["cpus"] >= 1


def test_an_unknown_processor_is_left_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(preflight, "CPU_INFO", tmp_path / "none")
    monkeypatch.setattr(preflight, "NVIDIA_GPUS", tmp_path / "none")
    monkeypatch.setattr("platform.processor", str)
    assert set(preflight.machine()) == {"host", "cpus", "gpus"}
    assert preflight.gpu_models() == []
