"""The environment is neither read nor stored because `${oc.env:NAME}` stands in a value."""

from collections.abc import Callable
from pathlib import Path

import pytest
from made_up_data import write_identity

from aqr_exp.cli.main import main
from aqr_exp.config.load import load_run
from aqr_exp.errors import RequestError

SECRET = "the secret 7f3a"
RULE = "may refer to keys alone, as ${model.head.width}: write what a resolver would read"
HOSTILE = [
    "data.root=${oc.env:SECRET}",
    "data.root='/data/${oc.env:SECRET}/x'",
    "data.root='${oc.env:NONE,${oc.env:SECRET}}'",
    "data.root='${oc.decode:${oc.env:SECRET}}'",
    "data.root='${oc.select:data.name,${oc.env:SECRET}}'",
    "data.root=${ oc.env : SECRET }",
    "data.root='${${data.name}:SECRET}'",
    "data.root='$${data.name}{oc.env:SECRET}'",
    "data.root=${hydra:runtime.cwd}",
    "data.name=${oc.env:SECRET}",
    "start.freeze=[a,'${oc.env:SECRET}']",
    "start.load_from=${oc.env:SECRET}",
    "schedule.stages=[{epochs:3},{epochs:1,drop_camera:'${oc.env:SECRET}'}]",
    "seed=${oc.env:SECRET}",
    "model.head.width=${oc.env:SECRET}",
]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SECRET", SECRET)
    monkeypatch.delenv("AQR_EXP_DATA", raising=False)
    monkeypatch.delenv("AQR_EXP_RESULTS", raising=False)
    write_identity(tmp_path / "data" / "synth")
    return tmp_path


@pytest.mark.parametrize("typed", HOSTILE)
def test_typed_values_call_no_resolver(typed: str) -> None:
    with pytest.raises(RequestError) as refused:
        load_run("baseline", [typed])
    key = typed.partition("=")[0]
    text = str(refused.value)
    assert text.startswith(f"{key}=")
    assert text.endswith(f": {RULE}")
    assert SECRET not in text
    assert len(text) <= 200


@pytest.mark.parametrize("command", ["run", "config", "sweep", "why", "data show 0"])
def test_every_command_refuses_them(command: str, place: Path, capsys: Callable) -> None:
    typed = ["baseline data.root=${oc.env:SECRET}"]
    words = command.split()
    if command == "why":
        words += [*typed, "baseline"]
    else:
        words += typed[0].split()[0 if words[0] != "data" else 1 :]
    assert main(words) == 2
    told = capsys.readouterr()
    assert SECRET not in told.out + told.err
    assert told.err.splitlines() == [f"aqr-exp: data.root=${{oc.env:SECRET}}: {RULE}"]
    assert not (place / "results").exists()


FILES = {
    "fixed": "variant: baseline\nfixed:\n  data.root: ${oc.env:SECRET}\n",
    "grid": "variant: baseline\ngrid:\n  data.name: [a, '${oc.env:SECRET}']\n",
    "zip": "variant: baseline\nzip:\n  data.name: ['${oc.env:SECRET}', b]\n",
    "points": "variant: baseline\npoints:\n  - {data.name: '${oc.env:SECRET}'}\n",
    "baseline": "variant: renderer_modulator\nbaseline: {data.name: '${oc.env:SECRET}'}\n",
    "stages": (
        "variant: baseline\nfixed:\n"
        "  schedule.stages: \"[{epochs:3},{epochs:1,drop_camera:'${oc.env:SECRET}'}]\"\n"
    ),
    "search": (
        "variant: attention_bias\nstrategy: random\ntrials: 2\n"
        "search:\n  data.name: choice('${oc.env:SECRET}', b)\n"
    ),
}


@pytest.mark.parametrize("part", FILES)
def test_sweep_files_call_no_resolver(part: str, place: Path, capsys: Callable) -> None:
    (place / "it.yaml").write_text(FILES[part])
    assert main(["sweep", "it.yaml", "--dry-run"]) == 2
    told = capsys.readouterr()
    assert SECRET not in told.out + told.err
    lines = told.err.splitlines()
    assert any(RULE in line and line.startswith("aqr-exp: it.yaml:") for line in lines), lines


def test_the_folder_of_data_sets_is_read_as_it_is(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AQR_EXP_DATA", "${oc.env:SECRET}")
    assert load_run("baseline").data.root == f"{place}/${{oc.env:SECRET}}/synth"
    config = load_run("baseline", ["schedule.name=${data.name}", "data.root=x/${data.version}"])
    assert config.data.root == f"{place}/x/v1.0-synth"
    assert config.schedule.name == "synth"
