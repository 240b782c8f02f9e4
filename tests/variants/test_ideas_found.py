"""Ideas in files of the user's own: found by name, imported when asked for, typed like any variant."""

import json
import os
import py_compile
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ideas_at_hand import GAIN, forget_ideas, write_idea
from made_up_data import write_identity

from aqr_exp.cli.main import main
from aqr_exp.config.compose import group_options
from aqr_exp.config.convert import dotted_keys
from aqr_exp.config.idea_files import PATH_VARIABLE, idea_names, search_environment
from aqr_exp.config.identity import as_dict, from_spec, run_name
from aqr_exp.config.load import load_run
from aqr_exp.config.schema import RunConfig
from aqr_exp.config.variant_spec import variant_named, variant_names, variant_specs
from aqr_exp.errors import RequestError

REPOSITORY = Path(__file__).resolve().parents[2]
EXPLODES = "raise RuntimeError('imported')\n"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working folder."""
    forget_ideas()
    folder = tmp_path / "it's here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv(PATH_VARIABLE, raising=False)
    yield folder
    forget_ideas()


def _refusal(variant: str, *typed: str) -> str:
    with pytest.raises(RequestError) as raised:
        load_run(variant, typed)
    return str(raised.value)


def test_an_idea_is_a_variant(place: Path) -> None:
    path = write_idea("my_gain")
    config = load_run("my_gain", ["variant.start=2"])
    assert as_dict(config.variant) == {"name": "my_gain", "start": 2.0}
    assert run_name(config).startswith("my_gain-")
    assert run_name(config) != run_name(load_run("my_gain"))
    spec = variant_specs()["my_gain"]
    assert spec.summary == "A learned gain for each sensor's features."
    assert spec.origin == place / path
    assert spec.module == "my_gain:MyGainModule"
    assert from_spec(as_dict(config)) == config
    # All else is what the baseline has.
    plain, base = as_dict(config), as_dict(load_run("baseline"))
    assert {**plain, "variant": 0, "sources": None} == {**base, "variant": 0, "sources": None}


def test_names_are_listed_and_nothing_is_imported() -> None:
    write_idea("my_gain", EXPLODES)
    write_idea("other", EXPLODES)
    (Path("ideas") / "folder").mkdir()
    (Path("ideas") / "folder" / "__init__.py").write_text(EXPLODES)
    for name in ("test_my_gain", "_helper", "conftest", "no-name", "class"):
        write_idea(name, EXPLODES)
    (Path("ideas") / "data").mkdir()
    (Path("ideas") / "notes.txt").write_text("")
    assert idea_names() == ["folder", "my_gain", "other"]
    shipped = ["attention_bias", "baseline", "renderer_modulator"]
    assert variant_names() == sorted([*shipped, "folder", "my_gain", "other"])
    assert group_options()["variant"] == variant_names()
    load_run("baseline", ["seed=1"])
    assert list(variant_specs()) == shipped
    assert "unknown variant 'my_gian': did you mean 'my_gain'? (available: " in _refusal("my_gian")


def test_only_the_idea_that_is_asked_for_is_imported() -> None:
    write_idea("my_gain")
    write_idea("other", EXPLODES)
    load_run("my_gain")
    assert "my_gain" in variant_specs()
    assert "other" not in variant_specs()
    assert "variant.start" in dotted_keys(RunConfig)
    assert "imported" in _refusal("other")
    # One that cannot be used leaves the others as they are.
    load_run("my_gain", ["variant.start=3"])


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("variant.start=9", "variant.start=9: must be a number from 0 to 4"),
        ("variant.start=two", "variant.start='two': must be a number from 0 to 4"),
        ("variant.strat=1", "unknown key 'variant.strat': did you mean 'variant.start'?"),
        ("start=1", "'start' is a group of keys: set one of them, such as 'variant.start'"),
        ("variant.name=x", "'variant.name' cannot be set: "),
        ("bias=aggressive", "bias=aggressive: variant 'my_gain' has no bias (variants that have: "),
        ("bias_scale=2", "bias_scale: variant 'my_gain' has no bias (variants that have: "),
    ],
)
def test_settings_are_typed(typed: str, line: str) -> None:
    write_idea("my_gain")
    assert _refusal("my_gain", typed).startswith(line)


def test_other_variants_do_not_have_its_keys() -> None:
    write_idea("my_gain")
    assert _refusal("baseline", "variant.start=1").startswith("unknown key 'variant.start'")
    load_run("my_gain")
    assert _refusal("baseline", "variant.start=1") == (
        "variant.start: variant 'baseline' has no start (variants that have: my_gain)"
    )


def test_a_folder_is_an_idea_too(place: Path) -> None:
    folder = place / "ideas" / "parts"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(
        '"""Made of parts."""\n'
        "from .settings import Parts\n"
        "from aqr_exp.ideas import Idea\n"
        "class PartsModule(Idea):\n    def set_epoch(self, epoch): ...\n"
    )
    (folder / "settings.py").write_text(
        "from dataclasses import dataclass\nfrom aqr_exp.ideas import Settings\n"
        "@dataclass(frozen=True, kw_only=True)\nclass Parts(Settings):\n    number: int = 3\n"
    )
    assert as_dict(load_run("parts", ["variant.number=4"]).variant)["number"] == 4
    assert variant_specs()["parts"].origin == folder


def test_an_idea_may_import_what_lies_beside_it() -> None:
    write_idea("_common_of_gains", "START = 2.5\n")
    text = GAIN.replace("= 1.0", "= START").replace(
        "import torch\n", "import torch\nfrom _common_of_gains import START\n", 1
    )
    write_idea("my_gain", text)
    assert as_dict(load_run("my_gain").variant)["start"] == 2.5


def test_further_folders(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_idea("my_gain", folder="shared/of us")
    write_idea("other", folder="more")
    monkeypatch.setenv(PATH_VARIABLE, os.pathsep.join(["shared/of us", "", "/nowhere", "more"]))
    assert idea_names() == ["my_gain", "other"]
    load_run("my_gain")
    # Another process finds them from anywhere.
    found = search_environment()[PATH_VARIABLE].split(os.pathsep)
    assert found == [f"{place}/ideas", f"{place}/shared/of us", "/nowhere", f"{place}/more"]


def test_two_of_one_name_are_refused(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    write_idea("my_gain", EXPLODES)
    write_idea("my_gain", EXPLODES, folder="shared")
    monkeypatch.setenv(PATH_VARIABLE, "shared")
    line = "two ideas are named my_gain: ideas/my_gain.py and shared/my_gain.py"
    assert _refusal("my_gain") == line
    monkeypatch.setenv(PATH_VARIABLE, "ideas")
    assert "imported" in _refusal("my_gain")  # the same file twice is one
    (place / "ideas" / "my_gain").mkdir()
    assert "imported" in _refusal("my_gain")  # with a folder of its data beside it
    (place / "ideas" / "my_gain" / "__init__.py").write_text(EXPLODES)
    line = "two ideas are named my_gain: ideas/my_gain.py and ideas/my_gain"
    assert _refusal("my_gain") == line


def test_the_name_of_a_shipped_variant_is_refused() -> None:
    write_idea("baseline", EXPLODES)
    folder = REPOSITORY / "aqr_exp" / "variants" / "baseline"
    line = f"ideas/baseline.py: has the name of the shipped variant in {folder}: give it another"
    assert _refusal("baseline") == line
    load_run("attention_bias")
    Path("ideas/baseline.py").unlink()
    Path("ideas/baseline").mkdir()  # a folder without code is none
    load_run("baseline")


def test_an_installed_idea_is_found(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = place / "site"
    (site / "gains_of_us").mkdir(parents=True)
    (site / "gains_of_us" / "__init__.py").write_text("")
    (site / "gains_of_us" / "gain.py").write_text(GAIN)
    info = site / "gains_of_us-1.0.dist-info"
    info.mkdir()
    (info / "entry_points.txt").write_text(
        "[console_scripts]\nx = y:z\n\n[aqr_exp.variants]\nour_gain = gains_of_us.gain\n"
        "gone = gains_of_us.gone\n[other]\nnot_ours = a.b\n"
    )
    monkeypatch.syspath_prepend(site)
    assert idea_names() == ["gone", "our_gain"]
    assert as_dict(load_run("our_gain").variant) == {"name": "our_gain", "start": 1.0}
    spec = variant_specs()["our_gain"]
    assert (spec.origin, spec.module) == (
        site / "gains_of_us" / "gain.py",
        "gains_of_us.gain:MyGainModule",
    )
    line = "entry point gone of aqr_exp.variants: there is no module gains_of_us.gone"
    assert _refusal("gone") == line


BASED = '''"""The bias, with a setting more."""

from dataclasses import dataclass
from typing import Annotated

from aqr_exp.ideas import Fault, Range, RunConfig, VariantSpec
from aqr_exp.variants.attention_bias import AttentionBiasSettings, module_arguments
from aqr_exp.variants.attention_bias.module import AttentionBiasModule

based_on = "attention_bias"


@dataclass(frozen=True, kw_only=True)
class Near(AttentionBiasSettings):
    near: Annotated[float, Range(0.0, 9.0)] = 1.5


class NearModule(AttentionBiasModule):
    def __init__(self, settings: Near, run: RunConfig) -> None:
        super().__init__(**module_arguments(settings, run))


def rules(settings, run):
    if settings.near > 8:
        yield Fault("variant.near", f"{settings.near:g}", "is too much")


SPEC = VariantSpec(rules=rules, short_names={"near": ("variant.near",)})
'''


def test_an_idea_may_be_based_on_a_shipped_variant() -> None:
    write_idea("nearby", BASED)
    config = load_run("nearby", ["bias=aggressive", "near=2", "variant.bias.window.bev=5"])
    shipped = as_dict(load_run("attention_bias", ["bias=aggressive", "variant.bias.window.bev=5"]))
    assert as_dict(config.variant) == {**shipped["variant"], "name": "nearby", "near": 2.0}
    assert as_dict(load_run("nearby", ["bias_scale=3"]).variant)["bias"]["scale"]["start"] == 3.0
    assert _refusal("nearby", "near=8.5") == "near=8.5: is too much"
    # The rules of what it is based on stay.
    assert "larger than the model's BEV map" in _refusal("nearby", "variant.bias.window.bev=500")


def test_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    write_idea("my_gain")
    assert main(["config", "my_gain", "variant.start=3", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["config"]["variant"] == {"name": "my_gain", "start": 3.0}
    assert main(["config", "my_gain", "variant.start=5"]) == 2
    assert capsys.readouterr().err == ("aqr-exp: variant.start=5: must be a number from 0 to 4\n")


def test_what_an_idea_prints_is_no_part_of_an_answer(capsys: pytest.CaptureFixture[str]) -> None:
    write_idea("my_gain", GAIN + "\nprint('hello')\n")
    assert main(["config", "my_gain", "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["config"]["variant"]["name"] == "my_gain"
    assert captured.err == "hello\n"


def test_an_edit_within_the_same_second_counts(place: Path) -> None:
    """Python's own compiled files say when a source was written in whole seconds."""
    path = write_idea("my_gain")
    os.utime(path, (1_000_000_000, 1_000_000_000))
    assert py_compile.compile(path, doraise=True)
    path.write_text(GAIN.replace("= 1.0", "= 3.0"))
    os.utime(path, (1_000_000_000, 1_000_000_000))
    assert as_dict(load_run("my_gain").variant)["start"] == 3.0


def test_help_and_list_import_no_idea(place: Path) -> None:
    write_idea("my_gain", EXPLODES)
    for words in (["--help"], ["list"], ["run", "--help"], ["config", "baseline"]):
        command = [sys.executable, "-m", "aqr_exp.cli.main", *words]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ})
        assert done.returncode == 0, done.stderr
        assert not re.search("imported|Error", done.stdout + done.stderr)


def test_an_unknown_name_says_where_ideas_lie() -> None:
    spec = as_dict(load_run("baseline"))
    spec["variant"] = {"name": "my_gain", "start": 2.0}
    with pytest.raises(RequestError) as raised:
        from_spec(spec)
    assert str(raised.value) == (
        "variant.name='my_gain': is not at hand "
        "(an idea's file lies in ideas/ or a folder of AQR_EXP_PATH)"
    )
    assert variant_named("my_gain") is None
    for name in ("", "..", "a/b", "x" * 5000, "nul\0"):
        assert variant_named(name) is None


def test_completion_knows_names_and_keys() -> None:
    from aqr_exp.cli import completion

    write_idea("my_gain")
    write_idea("other", EXPLODES)
    assert {"baseline", "my_gain", "other"} <= set(completion.variants())
    assert "variant.start" not in completion._keys("baseline")
    keys = completion._keys("my_gain")
    assert "variant.start" in keys
    assert not {"variant.name", "bias", "bias_scale", "variant.bias.local"} & set(keys)
    assert "variant.start" not in completion._keys("baseline")
    assert completion._with_default("variant.start", "my_gain")[1] == "variant.start=1.0"


def test_a_sweep_of_an_idea_and_the_baseline(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_idea("my_gain")
    write_identity(place / "data" / "synth")
    words = ["my_gain", "baseline", "variant.start=1,2", "seed=0,1", "--dry-run", "--json"]
    assert main(["sweep", *words]) == 0
    plan = json.loads(capsys.readouterr().out)
    arms = [run["name"].partition("-")[0] for run in plan["runs"]]
    assert sorted(arms) == ["baseline"] * 2 + ["my_gain"] * 4
