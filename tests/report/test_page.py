"""Pages: safe against hostile text, byte-identical, and showing exactly the numbers of the JSON."""

import hashlib
import os
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from demo import SQUARE, demo, provenance

from mechbp.figures import table
from mechbp.figures.table import format_cell
from mechbp.report.claim import MOVED, Claim, by_kind
from mechbp.report.document import REPLACED, Document, FigureData, Provenance, Section, dumps, loads
from mechbp.report.index import render_index
from mechbp.report.page import render
from mechbp.report.templates import asset

SEEDS = [
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)>",
    '" onmouseover="alert(1)',
    "' onfocus='alert(1)",
    "javascript:alert(1)",
    '<a href="javascript:alert(1)">x</a>',
    "<iframe src=http://example.org>",
    "<link rel=stylesheet href=//example.org/x.css>",
    "<base href=//example.org>",
    "<meta http-equiv=refresh content=0;url=//example.org>",
    "</style><script>alert(1)</script>",
    "</table></details><script>1</script>",
    "<!--<script>",
    "]]><!--",
    "{{7*7}}",
    "{% raw %}{{ config }}",
    "${7*7}",
    "%{x}%{customdata}",
    "$\\text{a}$",
    "\u2028\u2029",
    "\u202eevil\u202c",
    "\x00\x01\x1b[31m",
    "\ud800",
    "&lt;script&gt;&#60;",
    "`<b>code</b>`",
    "``` ` ``",
    "a" * 3000,
    "\ufeff\u200b",
    "😀́͏",
]
FRAMES = [("", ""), ("x", "y"), ('">', "<"), ("\n", "\t"), ("'>", "`"), ("</title>", "-->"), ("}}", "{{")]
HOSTILE = [before + seed + after for before, after in FRAMES for seed in SEEDS][:200]


def hostile_document(text: str) -> Document:
    """Put the text into every text field there is."""
    line = {"name": text, "x": [1, 2], "y": [1, 2], "low": [0, 1], "high": [2, 3]}
    data = {
        "lines": {
            "x_title": text,
            "y_title": text,
            "frame_title": text,
            "references": [{"name": text, "y": 1}],
            "frames": [{"name": text, "series": [line]}],
        },
        "scatter": {"x_title": text, "y_title": text, "series": [line], "identity": True},
        "bars": {"x_title": text, "y_title": text, "categories": [text], "series": [{"name": text, "y": [1], "reference": [1]}]},
        "dots": {
            "x_title": text,
            "categories": [text],
            "series": [{"name": text, "x": [1]}],
            "references": [{"name": text, "x": 1}],
        },
        "heatmap": {
            **dict.fromkeys(("row_title", "column_title", "value_title"), text),
            "rows": [text],
            "columns": [text],
            "panels": [{"title": text, "values": [[1]]}],
        },
        "clouds": {
            "colors": [[1, 0, 0]],
            "x_range": [0, 1],
            "y_range": [0, 1],
            "frame_title": text,
            "frames": [{"name": text, "panels": [{"title": text, "x": [1], "y": [1]}]}],
        },
        "densities": {
            "x_edges": [0, 1],
            "y_edges": [0, 1],
            "panels": [{"title": text, "png": SQUARE, "counts": [[1]]}],
        },
    }
    figures = [FigureData(f"fig-{kind}", kind, text, text, text, content) for kind, content in data.items()]
    figures.append(FigureData("fig-none", "lines", text, text, text, {}, "failed", text or "-"))
    origin = Provenance(text, text, 1.0, text, 1, text, True, {text: text}, {text: 0}, {text: {text: text}})
    move = {**dict.fromkeys(MOVED, text), "verdicts": ["fails", "holds"]}
    graded = dict(criterion=text, rule=text, kind="new", fixed="after", fixed_commit=text, fixed_date=text, moved=(move,))
    claim = Claim("c", text, text, text, text, "holds", "fig-bars", numbers={text: 1.0}, **graded)
    earlier = (dict.fromkeys(REPLACED, text),)
    section = Section("s", text, (text,), tuple(figures), "failed", text or "-")
    return Document("h", text, text, (claim,), (section,), origin, replaced=earlier)


class Dom(HTMLParser):
    """What a browser would find dangerous or would fetch, and the cells of each data table."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags, self.problems, self.tables, self.heads = [], [], {}, []
        self.table = self.script = None
        self.data = {}
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        values = dict(attributes)
        if tag == "script":
            self.script = values.get("id", f"inline-{len(self.data)}") if "type" in values else f"code-{len(self.data)}"
            self.data[self.script] = ""
        if tag == "table":
            self.table = self.tables.setdefault(values.get("id", "claims"), [])
        if tag == "tr" and self.table is not None:
            self.table.append([])
        if tag in ("td", "th") and self.table is not None:
            self.table[-1].append("")
        for name, value in attributes:
            if name.startswith("on") or name in ("src", "srcset", "action", "formaction", "xlink:href", "background", "poster"):
                self.problems.append((tag, name))
            if tag == "image" and name == "href" and value.startswith("data:image/png;base64,"):
                continue
            if name == "href" and not (
                value.startswith("#") or value == "index.html" or value.split("#")[0] in ("h.html", "demo.html")
            ):
                self.problems.append((tag, value))
        if tag in ("iframe", "img", "link", "base", "object", "embed", "form"):
            self.problems.append((tag, ""))

    def handle_endtag(self, tag):
        if tag == "table":
            self.table = None
        if tag == "script":
            self.script = None

    def handle_data(self, data):
        if self.script:
            self.data[self.script] += data
        elif self.table and self.table[-1]:
            self.table[-1][-1] += data


@pytest.fixture
def short_plotly(monkeypatch):
    """Render with a stand-in for plotly.js, so that 200 pages parse in seconds; other tests use the real one."""
    monkeypatch.setattr("mechbp.report.page.get_plotlyjs", lambda: "0;")


@pytest.mark.parametrize(
    "share", [pytest.param(slice(0, None, 8), id="an eighth"), pytest.param(slice(None), id="all", marks=pytest.mark.long)]
)
def test_hostile_text_stays_text(short_plotly, share):
    harmless = Dom(render(hostile_document("harmless")))
    assert len(HOSTILE) == 200 and not harmless.problems
    for text in HOSTILE[share]:
        document = hostile_document(text)
        html = render(loads(dumps(document)))
        dom = Dom(html)
        assert not dom.problems, text
        assert [tag for tag in dom.tags if tag != "code"] == [tag for tag in harmless.tags if tag != "code"], text
        assert list(dom.data) == list(harmless.data), text
        assert [v for k, v in dom.data.items() if k.startswith("code")] == [
            v for k, v in harmless.data.items() if k.startswith("code")
        ]
        index = Dom(render_index([document]))
        assert not index.problems and index.tags.count("script") == 1, text
        assert list(index.data.values()) == [asset("index.js")], text
        assert "\x00" not in html and not any("\ud800" <= c <= "\udfff" for c in html)


def test_the_policy_comes_first_and_names_exactly_the_scripts_of_the_page():
    html = render(demo())
    head = html[html.index("<head>") + 6 :].lstrip()
    assert head.startswith('<meta http-equiv="Content-Security-Policy"')
    scripts = [part.split("</script>")[0] for part in html.split("<script>")[1:]]
    import base64

    policy = head[: head.index(">")]
    assert len(scripts) == 2 and policy.count("sha256-") == 2 and "unsafe-eval" not in policy
    for script in scripts:
        assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() in policy.replace("&#43;", "+")


def test_every_table_cell_is_the_number_of_the_json():
    document = loads(dumps(demo()))
    tables = Dom(render(document)).tables
    for figure in document.figures:
        if figure.status == "done":
            expected = table(figure.kind, figure.data)
            shown = [[cell.strip() for cell in row] for row in tables[f"table-{figure.id}"]]
            assert shown == [list(expected.headers), *([format_cell(cell) for cell in row] for row in expected.rows)]


def test_the_page_is_small_and_shows_missing_parts():
    html = render(demo())
    assert len(html.encode()) <= 6e6
    for text in ("chain 3 met NaN", "needs 40 minutes", "not run", "Figure 11."):
        assert text in html


def test_rendering_again_changes_no_byte(tmp_path):
    source = tmp_path / "demo.json"
    source.write_text(dumps(demo()), encoding="utf-8")
    expected = hashlib.sha256(render(demo()).encode()).hexdigest()
    assert hashlib.sha256(render(demo()).encode()).hexdigest() == expected
    code = (
        "import sys, hashlib; from mechbp.report.document import load; from mechbp.report.page import render;"
        "print(hashlib.sha256(render(load(sys.argv[1])).encode()).hexdigest())"
    )
    for seed in ("1", "random"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        run = subprocess.run(
            [sys.executable, "-c", code, str(source)], capture_output=True, text=True, env=environment, check=True
        )
        assert run.stdout.strip() == expected


def test_a_page_without_figures_has_no_script():
    html = render(Document("a", "t", "l", (), (), provenance()))
    assert "<script" not in html and "script-src 'none'" in html.replace("&#39;", "'")


def test_importing_documents_loads_neither_plotly_nor_jinja():
    code = "import sys, mechbp.report.document; print([m for m in ('plotly', 'jinja2', 'torch') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_templates_travel_with_the_package():
    import mechbp.report

    folder = Path(mechbp.report.__file__).parent
    assert {"page.html", "index.html", "macros.html", "page.css", "page.js", "index.css", "index.js", "bundle.js"} <= {
        path.name for path in folder.iterdir()
    }


def test_the_index_gives_the_reference_and_links_claim_and_figure():
    html = render_index([demo()])
    for claim in demo().claims:
        assert f'href="demo.html#claim-{claim.id}"' in html
        assert not claim.figure or f'href="demo.html#{claim.figure}"' in html
    assert html.count('class="reference"') == sum(bool(claim.reference) for claim in demo().claims) > 0


def test_the_index_counts_claims_by_kind_and_verdict():
    late = replace(demo().claims[0], id="late", kind="new", verdict="fails", fixed="after")
    early = replace(demo().claims[0], id="early", kind="new", verdict="holds", fixed="before")
    counted = by_kind((late, early, replace(early, id="other", kind="method")))
    assert counted == [("method", [1, 0, 0, 0, 0], 0), ("new", [1, 0, 1, 0, 0], 1)]
    html = render_index([replace(demo(), claims=(late, early))])
    row = html[html.index("new claim: <span") :].split("</tr>")[0]
    assert re.findall(r"<td>(\d*)</td>", row) == ["1", "", "1", "", "", "1"]


def test_several_lines_between_backquotes_are_shown_as_they_are():
    texts = ("`a  <b>\n c`", "`a` and\n`b`", "`one`")
    section = Section("s", "S", texts)
    html = render(Document("d", "T", "L", (), (section,), provenance()))
    assert '<pre tabindex="0">a  &lt;b&gt;\n c</pre>' in html
    assert html.count("<pre") == 1 and "<p><code>a</code> and\n<code>b</code></p>" in html


def graded(**changes) -> Document:
    claim = Claim(
        **{
            **dict(id="c", statement="s", reference="r", measured="m", control="-", verdict="holds"),
            **dict(criterion="k", rule="`kl <= 0.03`", kind="new", fixed="before", numbers={"kl": 0.02}),
            **changes,
        }
    )
    return Document("d", "T", "L", (claim,), (), provenance())


LATE = "criterion set after the first measurement"
MOVE = {"date": "2026-01-31", "commit": "0123456789ab", "what": "close", "old": 0.02, "new": 0.03, "why": "wider"}


def test_a_page_shows_what_decides_a_claim_and_of_which_kind_it_is():
    html = render(graded())
    for text in ("<code>kl &lt;= 0.03</code>", ">new claim</span>", "set before the first recorded measurement", "<dd>0.02</dd>"):
        assert text in html, text
    assert ">new claim</span>" in render_index([graded()])


@pytest.mark.parametrize("show", [render, lambda document: render_index([document])], ids=["page", "index"])
def test_the_badge_stands_where_a_criterion_was_set_after_the_measurement_and_nowhere_else(show):
    assert LATE in show(graded(fixed="after"))
    assert LATE not in show(graded()) and LATE not in show(graded(fixed="", criterion="", rule="", kind="", numbers={}))


def test_a_page_shows_how_a_criterion_moved():
    html = render(graded(moved=({**MOVE, "verdicts": ["fails", "holds"]},)))
    moved = html.split('<p class="moved">')[1].split("</p>")[0]
    assert (
        "<s>0.02</s> → <ins>0.03</ins>" in moved and moved.index("not supported") < moved.rindex("supported") and "wider" in moved
    )
    assert "the verdict from" not in render(graded(moved=({**MOVE, "verdicts": []},)))


def test_a_claim_without_a_criterion_shows_none():
    html = render(graded(fixed="", criterion="", rule="", kind="", numbers={})).split("</style>")[1]
    for part in ("rule", "kind", "when", "moved", "decides", "late"):
        assert f'class="{part}' not in html


def test_a_page_shows_the_runs_that_were_replaced():
    html = render(demo()).split("</style>")[1]
    (run,) = demo().replaced
    assert 'id="replaced"' in html and 'href="#replaced"' in html and all(value in html for value in run.values())
    assert "replaced" not in render(graded()).split("</style>")[1]
