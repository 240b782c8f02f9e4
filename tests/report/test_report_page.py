"""The report's page: its numbers are the table's, any text in it is text, and it can be verified."""

import base64
import hashlib
import json
import re
import shlex
from html.parser import HTMLParser
from pathlib import Path

import pytest
from made_up_runs import MadeUpStore

from aqr_exp.cli.main import main
from aqr_exp.report.page.page import ABOUT
from aqr_exp.store.run_folder import RunFolder
from aqr_exp.store.sweep_folder import SweepEntry

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
VALUES = {
    "baseline": (0.300, 0.303, 0.298),
    "attention_bias": (0.315, 0.318, 0.314),
    "renderer_modulator": (0.301, 0.299, 0.302),
}


class Page(HTMLParser):
    """The elements of a page, the texts of its cells by row, and its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[tuple[str, str | None]]] = []
        self.scripts: list[str] = []
        self._cell: list[str] | None = None
        self._order: str | None = None
        self._script = False
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._script = tag == "script"
        if tag == "tr":
            self.rows.append([])
        if tag in {"td", "th"}:
            self._cell, self._order = [], dict(attrs).get("data-order")

    def handle_endtag(self, tag: str) -> None:
        if tag in {"td", "th"} and self._cell is not None:
            self.rows[-1].append((" ".join("".join(self._cell).split()), self._order))
            self._cell = None
        self._script = self._script and tag != "script"

    def handle_data(self, data: str) -> None:
        if self._script:
            self.scripts.append(data)
            return
        self.text += data
        if self._cell is not None:
            self._cell.append(data)


def trained(store: MadeUpStore, variant: str, seed: int, value: float, *typed: str) -> RunFolder:
    folder = store.add(variant, typed, seed, mAP=value, NDS=value + 0.05, **{"AP/car": value})
    for step in range(1, 401):
        line = {"kind": "train", "step": step, "epoch": 1 + (step - 1) // 100}
        folder.append_history(line | {"loss": 10.0 / step})
    return folder


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MadeUpStore:
    """A sweep of nine completed runs, and one with a run that failed and one that was never started."""
    made_up = MadeUpStore(tmp_path / "it's; results")
    folders = [
        trained(made_up, variant, seed, value)
        for variant, values in VALUES.items()
        for seed, value in enumerate(values)
    ]
    folders.append(made_up.add("baseline", [], 3))
    names = [(folder.name, folder.read_record()) for folder in folders]
    missing = f"{names[0][0][:-3]}-s4"
    entries = [
        SweepEntry(name=name, variant=of["variant"], overrides=(), seed=of["seed"])
        for name, of in [*names, (missing, {"variant": "baseline", "seed": 4})]
    ]
    made_up.sweep("it").write_plan(entries[:9])
    made_up.sweep("holes").write_plan(entries)
    monkeypatch.setenv("AQR_EXP_RESULTS", str(made_up.root))
    return made_up


def written(capsys: pytest.CaptureFixture[str], *typed: str) -> tuple[Path, Page]:
    assert main(["report", *typed]) == 0
    out, err = capsys.readouterr()
    assert "internal error" not in err
    path = Path(out.strip())
    return path, Page(path.read_text("utf-8"))


def test_numbers_are_those_of_the_table(
    store: MadeUpStore, capsys: pytest.CaptureFixture[str]
) -> None:
    path, page = written(capsys, "it")
    assert path == store.root / "reports" / "it.html"
    assert path.stat().st_size < 1_200_000
    assert main(["table", "--sweep", "it", "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    for row in rows:
        cells = {text: order for line in page.rows for text, order in line if order is not None}
        mean = (
            f"{row['mAP']:.2f} ± {row['mAP sd']:.2f} [{row['mAP low']:.2f}, {row['mAP high']:.2f}]"
        )
        assert cells[mean] == str(row["mAP"])
        if row["variant"] != "baseline":
            ends = f"[{row['mAP difference low']:+.2f}, {row['mAP difference high']:+.2f}]"
            shown = f"{row['mAP difference']:+.2f} {ends}, {row['mAP verdict']}"
            assert cells[shown] == str(row["mAP difference"])
    assert "attention_bias: better: mAP +1.53" in " ".join(page.text.split())
    charts = json.loads(page.scripts[1])["charts"]
    forest = [row for rows in charts["forest"]["datasets"].values() for row in rows]
    (mean,) = {
        row["mean"]
        for row in forest
        if (row.get("arm"), row.get("metric")) == ("attention_bias", "mAP") and "mean" in row
    }
    assert mean == pytest.approx(100 * (0.947 - 0.901) / 3)
    leads = sorted(
        row["lead"]
        for row in forest
        if (row.get("arm"), row.get("metric")) == ("attention_bias", "mAP") and "lead" in row
    )
    assert leads == pytest.approx([100 * (v - 0.901 / 3) for v in (0.314, 0.315, 0.318)])


def test_long_curves_are_thinned_and_short_ones_are_whole(
    store: MadeUpStore, capsys: pytest.CaptureFixture[str]
) -> None:
    _, page = written(capsys, "it")
    (lines,) = json.loads(page.scripts[1])["charts"]["loss"]["datasets"].values()
    assert len(lines) == 9
    assert all(100 <= len(line["value"]) == len(line["epoch"]) <= 120 for line in lines)
    assert lines[0]["epoch"][0] == pytest.approx(0.01)


def test_what_is_missing_or_failed_is_listed(
    store: MadeUpStore, capsys: pytest.CaptureFixture[str]
) -> None:
    _, page = written(capsys, "holes")
    states = [[text for text, _ in row] for row in page.rows if row and row[0][0] == "baseline"]
    assert [*["completed"] * 3, "failed", "to do", "3 of 5"] in [row[1:] for row in states]
    assert "failed: the loss is not finite at step 3 (loss)" in page.text


def test_seeds_without_a_result_are_listed_without_a_sweep_too(
    store: MadeUpStore, capsys: pytest.CaptureFixture[str]
) -> None:
    for typed in ([], ["--where", "variant == 'baseline'"]):
        _, page = written(capsys, *typed)
        states = [[text for text, _ in row] for row in page.rows if row and row[0][0] == "baseline"]
        assert [*["completed"] * 3, "failed", "3 of 4"] in [row[1:] for row in states]
        assert "failed: the loss is not finite at step 3 (loss)" in page.text


def test_commands_can_be_pasted(store: MadeUpStore, capsys: pytest.CaptureFixture[str]) -> None:
    folder = trained(store, "attention_bias", 0, 0.31, "bias_scale=4")
    record = {**folder.read_record(), "overrides": ["bias_scale=4", "note=[it's, b]", "seed=0"]}
    folder.write_json(folder.record_path, record)
    _, page = written(capsys)
    (line,) = [
        line for line in page.text.splitlines() if "bias_scale=4" in line and "seed=" in line
    ]
    typed = ["bias_scale=4", "note=[it's, b]", "seed=0"]
    assert shlex.split(line) == ["aqr-exp", "sweep", "attention_bias", *typed]


def test_any_text_is_text_and_the_page_asks_for_nothing(
    store: MadeUpStore, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = trained(store, "attention_bias", 0, 0.31, "bias_scale=4")
    record = {**folder.read_record(), "overrides": [f"bias_scale={HOSTILE}"], "preset": HOSTILE}
    folder.write_json(folder.record_path, {**record, "python": HOSTILE})
    _, page = written(capsys)
    scripts = [attributes for tag, attributes in page.elements if tag == "script"]
    assert [one.get("type") for one in scripts] == [
        "application/json",
        "application/json",
        "module",
        "module",
    ]
    assert "alert(1)" in page.text
    assert not [tag for tag, _ in page.elements if tag in {"img", "link", "iframe"}]
    for _, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on") or name == "src"]
        assert (attributes.get("href") or "#").startswith("#")
    # Only the scripts that belong to the page may run.
    (policy,) = [one["content"] or "" for tag, one in page.elements if "http-equiv" in one]
    hashes = re.findall(r"'sha256-([^']+)'", policy)
    digests = [hashlib.sha256(text.encode()).digest() for text in page.scripts[2:]]
    assert [base64.b64encode(one).decode() for one in digests] == hashes
    assert "unsafe-eval" not in policy


def test_a_report_is_verified_to_the_letter(
    store: MadeUpStore, capsys: pytest.CaptureFixture[str]
) -> None:
    path, _ = written(capsys, "it", "--sesoi", "1")
    assert main(["report", "--verify", str(path)]) == 0
    assert capsys.readouterr().out == f"{path}: as what the results folder gives now\n"
    text = path.read_text("utf-8")
    path.write_text(text.replace("+1.53", "+2.53", 1))
    assert main(["report", "--verify", str(path)]) == 1
    out = capsys.readouterr().out
    assert "+2.53" in out
    assert "now" in out
    assert out.endswith(f"{path}: differs from what the results folder gives now\n")


@pytest.mark.parametrize(
    ("typed", "code", "words"),
    [
        (["itt"], 2, "'itt': no such sweep was started: did you mean 'it'?"),
        (["--where", "seed == 7"], 2, "none of 9 completed runs meets 'seed == 7'"),
        (["--output", "."], 2, "that is a folder: name a file in it"),
        (["--verify", "plain.txt"], 1, "this is no report of aqr-exp"),
        (["--verify", "odd.html"], 1, "this is no report of aqr-exp"),
        (["--verify", "deep.html"], 1, "this is no report of aqr-exp"),
        (["--verify", "none.html"], 2, "none.html"),
        (["it", "--verify", "plain.txt"], 2, "--verify makes the page again that FILE is of"),
    ],
)
def test_a_wrong_request_is_one_line(
    store: MadeUpStore,
    typed: list[str],
    code: int,
    words: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(store.root)
    (store.root / "plain.txt").write_text("nothing")
    odd = '{"written": "x", "conditions": false, "request": {"sweep": 5}}'
    for name, about in (("odd.html", odd), ("deep.html", 100_000 * "[")):
        (store.root / name).write_text(f"{ABOUT}{about}</script>")
    assert main(["report", *typed]) == code
    out, err = capsys.readouterr()
    assert words in err
    assert [line for line in err.splitlines() if "arms compared" not in line][1:] == []
    assert out == ""


def test_without_what_draws_charts_it_says_what_to_install(
    store: MadeUpStore, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aqr_exp.report.page.page.find_spec", lambda _name: None)
    assert main(["report"]) == 2
    err = capsys.readouterr().err
    assert err == "aqr-exp: report needs altair: `pip install 'aqr-exp[report]'`\n"
