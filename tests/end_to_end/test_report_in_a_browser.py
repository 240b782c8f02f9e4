"""The report in a real browser: Debian's Chromium, without a network."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from made_up_runs import MadeUpStore

from aqr_exp.cli.main import main

CHROMIUM = shutil.which("chromium")
playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: `make setup`")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe: `make setup`")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: `make packages` as root")

ARMS = {"baseline": 0.300, "attention_bias": 0.315, "renderer_modulator": 0.301}
NAME = "<b>bold</b><script>document.title = 'run'</script>"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report on nine runs with histories; one arm's name is markup."""
    store = MadeUpStore(tmp_path_factory.mktemp("it's; results"))
    for variant, mean in ARMS.items():
        for seed, more in enumerate((0.0, 0.003, -0.002)):
            metrics = {"mAP": mean + more, "NDS": mean + 0.05 - more, "AP/car": mean}
            folder = store.add(variant, [], seed, **metrics)
            if variant == "renderer_modulator":
                record = {**folder.read_record(), "preset": NAME}
                folder.write_json(folder.record_path, record)
            for step in range(1, 41):
                folder.append_history(
                    {"kind": "train", "step": step, "epoch": 1 + step // 11, "loss": 9 / step}
                )
    path = tmp_path_factory.mktemp("pages") / "report.html"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AQR_EXP_RESULTS", str(store.root))
        assert main(["report", "--output", str(path)]) == 0
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        running = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def page(browser: Any, report: Path) -> Iterator[Any]:
    """The page with its charts; it asked for nothing and complained of nothing."""
    context = browser.new_context(offline=True, viewport={"width": 1200, "height": 900})
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    opened, said, asked = context.new_page(), [], []
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.on("request", lambda request: asked.append(request.url))
    opened.goto(report.as_uri())
    opened.wait_for_selector(".chart[data-chart=loss][data-drawn]")
    yield opened
    assert said == []
    assert asked == [report.as_uri()]
    context.close()


def order(page: Any) -> list[str]:
    return [
        line.inner_text().split()[1] for line in page.query_selector_all("#main tr.line:visible")
    ]


def test_sorting_filtering_columns_and_seeds(page: Any) -> None:
    assert order(page) == list(ARMS)
    head = page.locator("#main th", has=page.get_by_role("button", name="mAP", exact=True))
    for direction, expected in (
        ("ascending", ["baseline", "renderer_modulator", "attention_bias"]),
        ("descending", ["attention_bias", "renderer_modulator", "baseline"]),
    ):
        head.get_by_role("button").click()
        assert head.get_attribute("aria-sort") == direction
        assert order(page) == expected
    page.fill("#filter", "render")
    assert order(page) == ["renderer_modulator"]
    page.get_by_role("button", name="Seeds of renderer_modulator").click()
    assert page.locator("tr.seeds:visible tbody tr").count() == 3
    page.fill("#filter", "nothing is called so")
    assert page.locator("tr.seeds:visible").count() == 0
    page.fill("#filter", "")
    assert page.locator("tr.seeds:visible").count() == 1
    assert page.locator("#main th:has-text('identity')").is_hidden()
    page.get_by_text("Columns", exact=True).click()
    page.get_by_label("identity").check()
    assert page.locator("#main th:has-text('identity')").is_visible()


def test_markup_in_names_is_text(page: Any) -> None:
    assert page.title() == "Runs of this results folder: aqr-exp report"
    assert page.locator("b").count() == 0
    page.get_by_text("Columns", exact=True).click()
    page.get_by_label("preset").check()
    assert page.locator(f"td:visible:has-text({json.dumps(NAME)})").count() == 1


def test_a_click_in_the_legend_leaves_one_arm(page: Any) -> None:
    lines = page.locator(".chart[data-chart=loss] path[aria-roledescription='line mark']")
    faint = lambda: [float(line.get_attribute("opacity") or 1) < 0.1 for line in lines.all()]  # noqa: E731
    assert faint() == [False] * 9
    page.locator(".chart[data-chart=loss] .role-legend-label text", has_text="baseline").click()
    page.wait_for_function(
        "() => [...document.querySelectorAll('.chart[data-chart=loss] path[aria-roledescription]')]"
        ".some((line) => Number(line.getAttribute('opacity')) < 0.1)"
    )
    assert sorted(faint()) == [False] * 3 + [True] * 6


def test_metrics_and_themes_change_what_is_drawn(page: Any) -> None:
    title = page.locator(".chart[data-chart=forest] .role-title-text")
    assert title.text_content() == "mAP (points): difference to the reference"
    page.get_by_role("radio", name="NDS").check()
    assert title.text_content() == "NDS (points): difference to the reference"
    paper = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(paper)
    page.get_by_role("button", name="Dark or light").click()
    assert page.evaluate(paper) != light


def test_the_table_is_copied(page: Any) -> None:
    page.get_by_role("button", name="Copy as LaTeX").click()
    page.wait_for_selector("#copied:has-text('copied')")
    text = page.evaluate("navigator.clipboard.readText()")
    assert "\\toprule" in text
    assert "attention\\_bias" in text


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_keeps_people_out(page: Any, theme: str) -> None:
    page.emulate_media(color_scheme=theme)
    for details in page.locator("details").all():
        details.evaluate("(one) => { one.open = true; }")
    found = axe.Axe().run(page).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"][:200]) for one in found] == []
