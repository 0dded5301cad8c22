"""Pages in a real browser: every figure drawn, nothing fetched, a silent console; skipped where no Chromium is installed."""

import json
import re
from dataclasses import replace

import pytest
from demo import demo

from mechbp.figures import draw
from mechbp.report.document import Section
from mechbp.report.index import render_index
from mechbp.report.page import render
from mechbp.report.snapshot import TIMEOUT_MS, chromium, system_chromium, wait_until_drawn

pytest.importorskip("playwright", reason="playwright is not installed: pages are not drawn in a browser")
pytestmark = [
    pytest.mark.early,
    pytest.mark.skipif(system_chromium() is None, reason="no Chromium on PATH: pages are not drawn in a browser"),
]
N_FIGURES = sum(figure.status == "done" for figure in demo().figures)


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    html = render(demo())
    (folder / "demo.html").write_text(html, encoding="utf-8", newline="\n")
    forged = re.sub(r"(sha256-)(.)", lambda m: m[1] + ("A" if m[2] != "A" else "B"), html, count=1)
    (folder / "forged.html").write_text(forged, encoding="utf-8", newline="\n")
    (folder / "index.html").write_text(render_index([demo()]), encoding="utf-8", newline="\n")
    return folder


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


class Visit:
    """Open a page and record all that it asks for or says."""

    def __init__(self, browser, path, link="", width=1400, theme="light", **options):
        self.context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=theme, **options)
        self.context.set_default_timeout(TIMEOUT_MS)
        self.page = self.context.new_page()
        self.requests, self.messages = [], []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.messages.append(message.text))
        self.page.on("pageerror", lambda error: self.messages.append(str(error)))
        self.page.add_init_script("""window.violations = [];
            addEventListener('securitypolicyviolation', event => violations.push(event.violatedDirective))""")
        self.page.goto(path.as_uri() + link)

    def drawn(self):
        """Number of figures with ink in them, once no drawing is under way."""
        wait_until_drawn(self.page, "plot-fig-trajectory")
        ink = "'.cartesianlayer path, .cartesianlayer image, .polarlayer path'"
        return self.page.evaluate(f"[...document.querySelectorAll('div.plot')].filter(div => div.querySelector({ink})).length")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.context.close()


INK = {"light": "rgb(36, 39, 43)", "dark": "rgb(221, 218, 211)"}
OVERLAPS = """() => [...document.querySelectorAll('div.plot')].flatMap(plot => {
    const boxes = [...plot.querySelectorAll('.xtick text, .ytick text, .xtitle, .ytitle, .annotation-text, .legendtext')]
        .map(text => [text.textContent, text.getBoundingClientRect()]).filter(([text, box]) => text && box.width);
    return boxes.flatMap(([text, a], i) => boxes.slice(i + 1).filter(([, b]) =>
        Math.min(a.right, b.right) - Math.max(a.left, b.left) > 2 && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 3.5
    ).map(([other]) => `${plot.id}: ${text} / ${other}`));
})"""
"""Pairs of labels in one figure that lie on each other."""


@pytest.mark.parametrize("width, theme", [(1400, "light"), pytest.param(400, "dark", marks=pytest.mark.slow)])
def test_every_figure_is_drawn_and_nothing_is_fetched(browser, pages, width, theme):
    """Load in one view, then move to the other theme and width: all is drawn, fits, and no label lies on another."""
    with Visit(browser, pages / "demo.html", width=width, theme=theme) as visit:
        for step in ("loaded", "other theme", "other width", "slider moved"):
            if step == "other theme":
                theme = {"light": "dark", "dark": "light"}[theme]
                visit.page.emulate_media(color_scheme=theme)
            if step == "other width":
                width = 1800 - width
                visit.page.set_viewport_size({"width": width, "height": 900})
            if step == "slider moved":
                visit.page.locator("#frame-fig-probes").press("ArrowLeft")
            assert visit.drawn() == N_FIGURES, step
            assert visit.page.evaluate(OVERLAPS) == [], step
            assert visit.page.evaluate("document.documentElement.scrollWidth") <= width, step
            ink = visit.page.evaluate("getComputedStyle(document.querySelector('.main-svg .xtitle')).fill")
            assert ink == INK[theme], step
        assert visit.requests == [(pages / "demo.html").as_uri()]
        assert visit.messages == [] and visit.page.evaluate("violations") == []


@pytest.mark.slow
def test_between_both_layouts_the_wide_one_is_shrunk(browser, pages):
    """Half a screen: no label lies on another, nothing sticks out or leaves a gap, hovering tells what is under it."""
    with Visit(browser, pages / "demo.html", width=860) as visit:
        assert visit.drawn() == N_FIGURES and visit.page.evaluate(OVERLAPS) == []
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= 860
        widths, gaps = visit.page.evaluate("""() => {
            const plots = [...document.querySelectorAll("div.plot")].filter(plot => plot.querySelector("svg"));
            const boxes = plots.map(plot => [plot.getBoundingClientRect(), plot.parentElement.getBoundingClientRect(),
                plot.nextElementSibling.getBoundingClientRect()]);
            return [boxes.map(([plot, whole]) => plot.width - whole.width),
                boxes.map(([plot, , next]) => next.top - plot.bottom)];
        }""")
        assert max(map(abs, widths)) < 1 and all(-1 < gap < 60 for gap in gaps)
        data = next(figure.data for figure in demo().figures if figure.id == "fig-ablation")
        for index, name in enumerate(data["categories"]):
            dot = visit.page.locator("#plot-fig-ablation .trace.scatter").first.locator(".point").nth(index)
            dot.scroll_into_view_if_needed()
            box = dot.bounding_box()
            visit.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
            visit.page.wait_for_function(
                "name => document.querySelector('#plot-fig-ablation .hoverlayer').textContent.replace(/\\s/g, '').includes(name)",
                arg=name.replace(" ", "")[:30],
            )


@pytest.mark.slow
def test_a_snapshot_keeps_titles_below_their_axes(browser, pages):
    """Plotly measures text in an element of its own at the end of the body; hidden, it would measure nothing."""
    with Visit(browser, pages / "demo.html") as visit:
        visit.page.evaluate("document.documentElement.dataset.snapshot = ''; dispatchEvent(new Event('resize'))")
        assert visit.drawn() == N_FIGURES
        above = """[...document.querySelectorAll('.plot')].filter(plot => {
            const title = plot.querySelector('.xtitle'), area = plot.querySelector('.nsewdrag');
            return title && title.getBoundingClientRect().top < area.getBoundingClientRect().bottom;
        }).map(plot => plot.id)"""
        assert visit.page.evaluate(above) == []


def test_a_page_whose_hash_was_edited_draws_nothing(browser, pages):
    with Visit(browser, pages / "forged.html") as visit:
        assert visit.page.locator(".plot svg").count() == 0
        assert "script-src-elem" in visit.page.evaluate("violations")


@pytest.mark.slow
def test_links_restore_the_slider_and_the_slider_sets_the_link(browser, pages):
    with Visit(browser, pages / "demo.html", link="#fig-probes/1") as visit:
        visit.drawn()
        slider = visit.page.locator("#frame-fig-probes")
        assert slider.input_value() == "1"
        assert visit.page.locator("#fig-probes output").inner_text() == "100"
        first = "document.getElementById('plot-fig-probes').data[0].z[0][0]"
        shown = [visit.page.evaluate(first)]
        slider.press("ArrowRight")
        assert visit.page.evaluate("location.hash") == "#fig-probes/2"
        shown.append(visit.page.evaluate(first))
        frames = next(figure for figure in demo().figures if figure.id == "fig-probes").data["frames"]
        assert shown == [frames[step]["panels"][0]["values"][0][0] for step in (1, 2)]
        visit.page.set_viewport_size({"width": 400, "height": 800})
        visit.drawn()
        assert slider.input_value() == "2" and visit.messages == []


@pytest.mark.slow
def test_sliders_over_the_same_frames_move_together(browser, tmp_path):
    document = demo()
    probes = next(figure for figure in document.figures if figure.id == "fig-probes")
    other = {**probes.data, "frames": [{**frame, "name": f"other {i}"} for i, frame in enumerate(probes.data["frames"])]}
    figures = (probes, replace(probes, id="fig-twin"), replace(probes, id="fig-other", data=other))
    section = Section("sliders", "Sliders", (), figures)
    path = tmp_path / "sliders.html"
    path.write_text(render(replace(document, claims=(), sections=(section,))), encoding="utf-8", newline="\n")
    with Visit(browser, path) as visit:
        wait_until_drawn(visit.page, "plot-fig-other")
        last = len(probes.data["frames"]) - 1
        visit.page.locator("#frame-fig-twin").press("ArrowLeft")
        shown = [visit.page.locator(f"#frame-{name}").input_value() for name in ("fig-probes", "fig-twin", "fig-other")]
        assert shown == [str(last - 1), str(last - 1), str(last)] and visit.messages == []


@pytest.mark.slow
def test_downloads_hold_the_plotted_data(browser, pages):
    figure = next(figure for figure in demo().figures if figure.id == "fig-ablation")
    with Visit(browser, pages / "demo.html", accept_downloads=True) as visit:
        texts = {}
        for kind in ("json", "csv"):
            with visit.page.expect_download() as download:
                visit.page.locator(f"#fig-ablation button[data-save={kind}]").click()
            texts[kind] = download.value.path().read_text(encoding="utf-8")
            assert download.value.suggested_filename == f"fig-ablation.{kind}"
        import csv
        import json

        assert json.loads(texts["json"]) == figure.data
        rows = list(csv.reader(texts["csv"].splitlines()))
        assert rows[0] == ["category", "series", "Change of KL(BP_0 || model) (nats)", "low", "high"]
        assert rows[1][1:] == ["trained", "0.01", "0", "0.02"] and rows[8] == [
            "Ablate the head",
            "Control: untrained",
            "",
            "",
            "",
        ]
        assert visit.messages == [] and visit.page.evaluate("violations") == []


def test_without_javascript_text_and_tables_remain(browser, pages):
    with Visit(browser, pages / "demo.html", java_script_enabled=False) as visit:
        assert visit.page.locator("noscript p").is_visible()
        visit.page.locator("#fig-ablation summary").click()
        assert visit.page.locator("#table-fig-ablation td").first.is_visible()
        assert not visit.page.locator(".plot").first.is_visible()


def test_the_index_needs_nothing(browser, pages):
    with Visit(browser, pages / "index.html", width=400, theme="dark") as visit:
        assert visit.requests == [(pages / "index.html").as_uri()] and visit.messages == []
        assert visit.page.locator(".list li").count() == len(demo().claims)
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= 400


@pytest.mark.slow
def test_the_index_is_searched_and_filtered(browser, pages):
    with Visit(browser, pages / "index.html") as visit:
        page = visit.page
        shown = "[...document.querySelectorAll('.list li:not([hidden]) .statement')].map(node => node.textContent.trim())"
        statements = {claim.verdict: claim.statement for claim in demo().claims}
        page.locator("#by-verdict").select_option("fails")
        assert page.evaluate(shown) == [statements["fails"]]
        assert page.locator(".strip a.off").count() == len(demo().claims) - 1
        assert page.locator("#found").inner_text() == "1 claim on 1 page"
        page.locator("#by-verdict").select_option("")
        page.locator("#find").fill("growing SIZE")
        assert page.evaluate(shown) == [statements["partly"]] and page.locator(".list li").nth(1).is_visible()
        page.locator("#find").fill("no such words")
        assert not page.locator(".card").is_visible() and page.locator("#found").inner_text() == "0 claims on 0 pages"
        page.locator("#find").fill("")
        assert len(page.evaluate(shown)) == len(demo().claims) and page.locator("#found").inner_text() == ""
        assert visit.messages == [] and page.evaluate("violations") == []


@pytest.mark.slow
def test_a_link_to_a_claim_unfolds_it_with_and_without_javascript(browser, pages):
    for script in (True, False):
        with Visit(browser, pages / "demo.html", link="#claim-order", java_script_enabled=script) as visit:
            visit.page.wait_for_selector("#claim-order", state="visible")
            assert not visit.page.locator("#claim-accuracy").is_visible()
            visit.page.locator("summary:has-text('as accurate as')").first.click()
            assert visit.page.locator("#claim-accuracy").is_visible()


OFF = """() => [...document.querySelectorAll('.estimates .marks')].map(marks => {
    const middle = box => (box.top + box.bottom) / 2;
    const label = marks.nextElementSibling.getBoundingClientRect();
    return Math.abs(middle(marks.querySelector('circle').getBoundingClientRect()) - middle(label));
})"""
"""How far each dot of the forest plot stands above or below the middle of its label, in pixels."""
AXIS = """() => {
    const [axis, marks] = ['.axis svg', '.marks'].map(name => document.querySelector(name).getBoundingClientRect());
    return Math.abs(axis.left - marks.left) + Math.abs(axis.right - marks.right);
}"""


@pytest.mark.parametrize("width", [1280, *(pytest.param(width, marks=pytest.mark.long) for width in (700, 390))])
@pytest.mark.slow
def test_dots_of_the_forest_plot_stand_at_their_labels_and_under_their_axis(browser, tmp_path, width):
    first, *others = demo().claims
    both = replace(first, measured="with training: 0.2412 [0.1034, 0.3012] nats", control="without it: 0.5 nats")
    (tmp_path / "forest.html").write_text(render(replace(demo(), claims=(both, *others))), encoding="utf-8", newline="\n")
    with Visit(browser, tmp_path / "forest.html", width=width) as visit:
        off = visit.page.evaluate(OFF)
        assert len(off) == 3 and max(off) < 1 and visit.page.evaluate(AXIS) < 1
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.slow
def test_a_long_claim_is_cut_visibly_and_read_in_full_where_it_unfolds(browser, tmp_path):
    statement = "A claim that goes on " + "and on " * 60 + "to its end."
    first, *others = demo().claims
    html = render(replace(demo(), claims=(replace(first, statement=statement), *others)))
    (tmp_path / "long.html").write_text(html, encoding="utf-8", newline="\n")
    with Visit(browser, tmp_path / "long.html") as visit:
        row = visit.page.locator("summary .statement").first
        style = row.evaluate(
            "node => { const { webkitLineClamp, overflow } = getComputedStyle(node); return [webkitLineClamp, overflow]; }"
        )
        assert style == ["2", "hidden"] and row.evaluate("node => node.scrollHeight > node.clientHeight + 5"), "it ends in …"
        assert row.get_attribute("title") == statement == row.text_content()
        row.click()
        whole = visit.page.locator(".whole .statement").first
        assert statement in whole.inner_text() and whole.evaluate("node => node.scrollHeight <= node.clientHeight + 1")


@pytest.mark.slow
def test_the_script_unpacks_what_was_packed(browser, pages):
    """Axes, traces and both layouts are those that were drawn in Python, though the page says only how they differ."""
    for width, narrow in ((1400, False), (400, True)):
        with Visit(browser, pages / "demo.html", width=width) as visit:
            visit.drawn()
            for figure in demo().figures:
                if figure.kind != "heatmap" or figure.status != "done":
                    continue
                expected = json.loads(draw(figure.kind, figure.data, narrow=narrow).to_json())
                layout, traces = visit.page.evaluate(
                    "id => { const plot = document.getElementById(id); return [plot.layout, plot.data]; }", f"plot-{figure.id}"
                )
                for axis in (key for key in expected["layout"] if "axis" in key and key != "coloraxis"):
                    for key in ("domain", "ticktext", "tickvals", "anchor"):
                        assert layout[axis][key] == expected["layout"][axis][key], (figure.id, axis, key)
                assert [trace["z"] for trace in traces] == [trace["z"] for trace in expected["data"]]
                assert [trace["name"] for trace in traces] == [trace["name"] for trace in expected["data"]]
