"""Pages and index held against axe-core, which finds nothing serious or critical on them, in light and in dark.

axe-core is no Python package: it is taken from $MECHBP_AXE (axe.min.js), or from node_modules/ beside the source, and where it is
not there this is skipped.
"""

import os
from pathlib import Path

import pytest
from demo import demo

import mechbp
from mechbp.report.index import render_index
from mechbp.report.page import render
from mechbp.report.snapshot import chromium, system_chromium

ROOT = Path(mechbp.__file__).resolve().parents[1]
AXE = Path(os.environ.get("MECHBP_AXE") or ROOT / "node_modules" / "axe-core" / "axe.min.js")
pytest.importorskip("playwright", reason="playwright is not installed: pages are not drawn in a browser")
pytestmark = [
    pytest.mark.skipif(system_chromium() is None, reason="no Chromium on PATH: pages are not drawn in a browser"),
    pytest.mark.skipif(not AXE.is_file(), reason="no axe-core: npm install --no-save axe-core, or set MECHBP_AXE to axe.min.js"),
]
FOUND = "axe.run(document, {resultTypes: ['violations']}).then(found => found.violations.map(one => [one.id, one.impact]))"
UNFOLD = "document.querySelectorAll('details').forEach(part => { part.open = true; })"


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


def violations(browser, html, theme, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(html, encoding="utf-8", newline="\n")
    page = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme=theme)
    page.goto(path.as_uri())
    if "plot-fig" in html:
        page.wait_for_selector('html[data-drawn="yes"]', timeout=60_000)
    page.evaluate(UNFOLD)
    page.evaluate(AXE.read_text(encoding="utf-8") + "\n;0")
    found = page.evaluate(FOUND)
    page.close()
    return [rule for rule, impact in found if impact in ("serious", "critical")]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("show", [render, lambda document: render_index([document])], ids=["page", "index"])
def test_nothing_serious_stands_in_a_readers_way(browser, tmp_path, show, theme):
    assert violations(browser, show(demo()), theme, tmp_path) == []


def test_what_stands_in_the_way_is_found(browser, tmp_path):
    html = render_index([demo()]).replace("--muted: #5c6269", "--muted: #cccccc")
    assert "color-contrast" in violations(browser, html, "light", tmp_path)
