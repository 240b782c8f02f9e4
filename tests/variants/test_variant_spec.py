"""The registry of variants, and what every spec must keep."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import aqr_exp.variants
from aqr_exp.config import BASELINE, variant_spec
from aqr_exp.config.compose import group_options
from aqr_exp.config.convert import dotted_keys, fields_of
from aqr_exp.config.identity import run_name
from aqr_exp.config.load import load_run
from aqr_exp.config.schema import RunConfig
from aqr_exp.config.short_names import short_names
from aqr_exp.config.variant_spec import (
    example_lines,
    lacks_part,
    shipped_specs,
    variant_specs,
)
from aqr_exp.errors import RequestError

SPECS = variant_specs()


def test_every_folder_of_variants_is_a_variant_with_an_option_of_its_name() -> None:
    folder = Path(aqr_exp.variants.__file__).parent
    folders = sorted(path.parent.name for path in folder.glob("*/__init__.py"))
    assert list(SPECS) == folders == group_options()["variant"]
    assert BASELINE in SPECS


@pytest.mark.parametrize("spec", SPECS.values(), ids=list(SPECS))
def test_what_a_spec_names_is_there(spec: variant_spec.VariantSpec) -> None:
    keys = dotted_keys(RunConfig)
    assert all(set(names) <= set(keys) for names in spec.short_names.values())
    assert set(spec.groups) <= set(spec.parts)
    assert set(spec.groups) <= set(group_options())
    assert set(spec.windows) <= set(spec.parts)
    assert all(line.startswith("aqr-exp ") for line in spec.examples)
    if spec.module is not None:
        path, _, name = spec.module.partition(":")
        assert hasattr(importlib.import_module(path), name)


def test_no_code_outside_the_folders_names_a_variant() -> None:
    package = Path(aqr_exp.variants.__file__).parents[1]
    names = set(SPECS) - {BASELINE}
    modules = {spec.module.partition(":")[2] for spec in SPECS.values() if spec.module}
    files = [
        path for path in package.rglob("*.py") if "variants" not in path.relative_to(package).parts
    ]
    benchmarks = package.parent / "benchmarks"
    assert len(files) > 200
    naming = [
        f"{path.relative_to(package.parent)}: {name}"
        for path in (*files, *benchmarks.glob("*.py"))
        for name in (*names, *modules)
        if name in path.read_text()
    ]
    assert naming == []


def test_the_registry_loads_nothing_heavy() -> None:
    program = (
        "import sys; from aqr_exp.config.variant_spec import variant_specs; variant_specs(); "
        "print([name for name in ('torch', 'mmengine', 'mmcv', 'numpy', 'hydra') "
        "if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.stdout == "[]\n", result.stderr


def test_a_variant_without_an_example_of_a_command_adds_no_line() -> None:
    assert example_lines("doctor") == ""
    lines = example_lines("plot curves").splitlines()
    assert lines
    assert all(line.startswith("  aqr-exp plot curves ") for line in lines)


ADDED = """
from dataclasses import dataclass
from typing import Annotated

from aqr_exp.config.schema.constraints import Range
from aqr_exp.config.schema.run import VariantSettings
from aqr_exp.config.variant_spec import VariantSpec
from aqr_exp.errors import Fault


@dataclass(frozen=True, kw_only=True)
class Blur:
    radius: Annotated[float, Range(0.0, 9.0)]


@dataclass(frozen=True, kw_only=True)
class AddedSettings(VariantSettings):
    blur: Blur


def rules(settings, run):
    if settings.blur.radius > run.model.head.width:
        yield Fault("variant.blur.radius", f"{settings.blur.radius:g}", "must not exceed the width")


SPEC = VariantSpec(
    name="added",
    summary="A variant of this test.",
    settings=AddedSettings,
    rules=rules,
    short_names={"blur_radius": ("variant.blur.radius",)},
)
"""


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more folder of variants."""
    package = tmp_path / "added"
    package.mkdir()
    (package / "__init__.py").write_text(ADDED)
    monkeypatch.setattr(aqr_exp.variants, "__path__", [*aqr_exp.variants.__path__, str(tmp_path)])
    cached = (shipped_specs, short_names, dotted_keys, fields_of)
    for function in cached:
        function.cache_clear()
    yield
    sys.modules.pop("aqr_exp.variants.added")
    for function in cached:
        function.cache_clear()


def test_one_more_folder_is_one_more_variant(added: None) -> None:
    from aqr_exp.config.convert import convert
    from aqr_exp.config.identity import as_dict
    from aqr_exp.config.rules import broken_rules

    plain = as_dict(load_run(BASELINE))
    plain["variant"] = {"name": "added", "blur": {"radius": 3}}
    config = convert(RunConfig, plain)
    assert run_name(config).startswith("added-")
    assert type(config.variant) is variant_specs()["added"].settings
    assert config.variant.blur.radius == 3.0
    assert broken_rules(config) == []
    assert "variant.blur.radius" in dotted_keys(RunConfig)
    assert short_names()["blur_radius"] == ("variant.blur.radius",)
    assert lacks_part(BASELINE, "blur") == (
        "variant 'baseline' has no blur (variants that have: added)"
    )
    plain["variant"]["blur"]["radius"] = 30
    with pytest.raises(RequestError, match=r"^variant\.blur\.radius=30: must be a number from 0"):
        convert(RunConfig, plain)
    plain["variant"] = {"name": "added", "blur": {"radius": 3}, "router": {}}
    with pytest.raises(RequestError, match=r"^variant\.router: variant 'added' has no router"):
        convert(RunConfig, plain)


ROUTER = [
    *(f"attn_norm.{part}" for part in ("bias", "weight")),
    "cross_attn.key.weight",
    *(
        f"cross_attn.{name}.{part}"
        for name in ("out", "query", "value")
        for part in ("bias", "weight")
    ),
    *(f"ffn.{place}.{part}" for place in (0, 2) for part in ("bias", "weight")),
    *(f"{name}.{part}" for name in ("ffn_norm", "output") for part in ("bias", "weight")),
]
STORED = {
    "attention_bias": ["bias.scale.limits", "bias.scale.raw", *(f"router.{n}" for n in ROUTER)],
    "renderer_modulator": [f"router.{name}" for name in ROUTER],
}


@pytest.mark.parametrize("variant", STORED)
def test_stored_checkpoints_fit(variant: str) -> None:
    """The names that checkpoints of runs have had since there were variants."""
    from mmdet3d.registry import MODELS

    from aqr_exp.cmt.detector import register_modules
    from aqr_exp.cmt.detector_config import detector_config

    register_modules()
    head = MODELS.build(detector_config(load_run(variant))["pts_bbox_head"])
    assert sorted(head.aqr.state_dict()) == STORED[variant]
