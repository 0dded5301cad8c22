"""A script's own page: what it shows, what it refuses, and that its bytes follow from its JSON."""

import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import plotly.graph_objects as go
import plotly.io
import pytest

import mechbp
from mechbp.errors import InputError
from mechbp.figures.picture import Picture
from mechbp.methods.statistics.intervals import bootstrap_mean
from mechbp.report import builder
from mechbp.report.document import load
from mechbp.report.page import render


@dataclass(frozen=True)
class Result:
    values: np.ndarray

    def picture(self, color=0):
        series = [{"name": "found", "x": np.arange(len(self.values)), "y": self.values, "color": color}]
        return Picture(
            "lines", "What was found", "One value per step.", "A line.", {"x_title": "step", "y_title": "a", "series": series}
        )

    def summary(self):
        return f"n = {len(self.values)}\ntwo lines of `summary`"


def page():
    interval = bootstrap_mean(np.arange(50.0), mechbp.rng(0, "i"))
    figure = go.Figure(
        go.Heatmap(z=np.array([[1.0, np.nan], [3.0, 4.0]]), x=["a", "b"]), {"title": {"text": "Own grid"}, "template": "ggplot2"}
    )
    return (
        mechbp.Report("My probe: does it work?", lead="It does.", seeds={"probe": 3}, runs={"mine": {"step": 500}})
        .claim(
            "The probe beats the token.",
            holds="low > control",
            partly="mean > control",
            numbers={"low": float(interval.low), "mean": float(interval.mean), "control": 25.0},
            measured=interval,
            control="25.0",
            figure="probe",
        )
        .claim("Nobody asked.", "not run", measured="nothing")
        .section("Where")
        .add("A paragraph.")
        .add(Result(np.array([1.0, 2.0, np.nan])), id="probe", color=3)
        .section("Own")
        .add(figure, alt="A grid of four cells.")
    )


def test_a_page_holds_what_was_added_in_its_order(tmp_path):
    before = plotly.io.templates.default, plotly.io.renderers.default
    path = page().write(tmp_path / "new" / "probe.html")
    assert (plotly.io.templates.default, plotly.io.renderers.default) == before
    document = load(path.with_suffix(".json"))
    assert document.lead == "It does."
    assert document.slug == "my-probe-does-it-work" and [section.title for section in document.sections] == ["Where", "Own"]
    beats, unasked = document.claims
    assert (beats.verdict, unasked.verdict) == ("fails" if beats.numbers["mean"] <= 25 else "partly", "not run")
    assert beats.rule == "`low > control`\npartly if `mean > control`" and beats.figure == "fig-probe"
    assert re.fullmatch(r"24\.500 \[\d+\.\d{3}, \d+\.\d{3}\]", beats.measured)
    assert [figure.id for figure in document.figures] == ["fig-probe", "fig-2"]
    assert document.sections[0].text == ("A paragraph.",)
    assert document.figures[0].caption == "One value per step. n = 3; two lines of `summary`."
    assert document.figures[0].data["series"][0]["y"] == [1.0, 2.0, None]
    own = document.figures[1]
    assert own.title == "Own grid" and "title" not in own.data["layout"] and "template" not in own.data["layout"]
    assert document.provenance.seeds == {"probe": 3} and document.provenance.runs == {"mine": {"step": 500}}
    assert document.provenance.versions["mechbp"] == mechbp.__version__


def test_bytes_follow_from_the_json_and_a_second_write_changes_none(tmp_path):
    report = page()
    path = report.write(tmp_path / "a.html")
    first = path.read_bytes()
    assert render(load(path.with_suffix(".json")), alone=True).encode() == first
    assert report.write(path).read_bytes() == first


def test_it_links_to_an_index_only_where_there_is_one(tmp_path):
    assert b'href="index.html"' not in page().write(tmp_path / "a.html").read_bytes()
    (tmp_path / "index.html").write_text("")
    assert b'href="index.html"' in page().write(tmp_path / "b.html").read_bytes()


def test_a_run_is_told_by_its_digest_and_step():
    run = mechbp.load("tree-mlm-k0")
    told = mechbp.Report("t", runs=[run]).document().provenance.runs["tree-mlm-k0"]
    assert told == {"checkpoint_sha256": run.digest, "step": run.steps[-1]}


@dataclass(frozen=True)
class Stored:
    """A run of two steps on another device."""

    name: str = "mine"
    digest: str = "ab12"
    steps: tuple[int, ...] = (100, 500)
    device: str = "cuda"


def test_a_run_of_several_steps_is_told_by_its_last_and_by_the_device_it_is_on():
    provenance = mechbp.Report("t", runs=[Stored()]).document().provenance
    assert provenance.runs == {"mine": {"checkpoint_sha256": "ab12", "step": 500}} and provenance.device == "cuda"
    assert mechbp.Report("t", runs=[Stored()], device="cpu, later").document().provenance.device == "cpu, later"
    assert mechbp.Report("t").document().provenance.device == "cpu"


def test_the_time_it_took_is_counted_from_the_import(monkeypatch):
    monkeypatch.setattr(builder, "IMPORTED", time.monotonic() - 7200)
    provenance = mechbp.Report("t").document().provenance
    begun = datetime.strptime(provenance.utc, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert abs(datetime.now(UTC) - begun - timedelta(hours=2)) < timedelta(minutes=10)
    assert 7200 <= provenance.wall_s < 7800


def test_a_claim_holds_each_text_in_its_own_field():
    told = dict(measured="2.0", control="0.5", reference="Smith 2020, table 1", kind="reproduction")
    claim = mechbp.Report("t").claim("It is two.", holds="a > 1", numbers={"a": 2.0, "b": None}, **told).document().claims[0]
    assert {name: getattr(claim, name) for name in told} == told
    assert claim.statement == "It is two." and claim.numbers == {"a": 2.0, "b": None} and claim.verdict == "holds"


def test_texts_of_the_call_stand_in_place_of_those_of_the_result():
    texts = dict(title="My title", caption="My caption.", alt="My line.")
    result = Result(np.array([1.0, 2.0]))
    for item in (result, result.picture()):
        figure = mechbp.Report("t").add(item, **texts).document().figures[0]
        assert {name: getattr(figure, name) for name in texts} == texts


def test_of_an_own_figures_layout_the_page_decides_what_is_its_own():
    layout = {
        "width": 300,
        "autosize": False,
        "template": "ggplot2",
        "sliders": [{"steps": []}],
        "updatemenus": [{"buttons": []}],
    }
    figure = go.Figure(go.Bar(y=[1.0]), {**layout, "bargap": 0.5})
    assert mechbp.Report("t").add(figure, alt="a bar").document().figures[0].data["layout"] == {"bargap": 0.5}


def test_grids_and_points_of_an_own_figure_are_in_its_table():
    from mechbp.figures import table

    grid = page().document().figures[1]
    assert table(grid.kind, grid.data).rows[1] == ("trace 0", 0, "b", None)
    bars = go.Figure(go.Bar(x=["<b>x</b>", "y"], y=np.array([1.5, 2.5]), name="bars"))
    drawn = mechbp.Report("t").add(bars, alt="bars").document().figures[0]
    assert table(drawn.kind, drawn.data).rows == (("bars", "<b>x</b>", 1.5), ("bars", "y", 2.5))


def test_dates_and_missing_values_become_text_and_gaps():
    line = go.Figure(go.Scatter(x=np.array(["2026-01-01", "2026-01-02"], dtype="datetime64[D]"), y=[1.0, np.nan]))
    trace = mechbp.Report("t").add(line, alt="a line").document().figures[0].data["traces"][0]
    assert trace["y"] == [1.0, None] and trace["x"][0].startswith("2026-01-01")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda report: report.add(3), "a int cannot be shown"),
        (lambda report: report.add(go.Figure(go.Bar(y=[1]))), "needs alt="),
        (lambda report: report.add(go.Figure(go.Bar(y=[1]), frames=[go.Frame(name="1")]), alt="b"), "one figure per frame"),
        (lambda report: report.add(go.Figure(), alt="nothing"), "traces"),
        (lambda report: report.claim("s", measured="m"), "one of the two"),
        (lambda report: report.claim("s", "holds", holds="a > 0", measured="m"), "one of the two"),
        (lambda report: report.claim("s", "maybe", measured="m"), "unknown verdict 'maybe'"),
        (lambda report: report.claim("s", holds="b > 0", numbers={"a": 1}, measured="m"), "no 'b'|unknown|names"),
        (lambda report: report.claim("s", holds="import os", measured="m"), "is no rule"),
        (
            lambda report: report.claim("s", "holds", measured="m", figure="gone").document(),
            "figure 'fig-gone' is not on the page",
        ),
        (lambda report: report.write("page.txt"), "must end in .html"),
        (lambda report: mechbp.Report("…"), "Give one: slug="),
        (lambda report: mechbp.Report("t", runs=["tree-mlm-k0"]), "runs as mechbp.load returns them"),
    ],
)
def test_what_cannot_be_shown_is_refused_with_the_cure(call, message):
    with pytest.raises(InputError, match=message) as caught:
        call(mechbp.Report("t"))
    assert len(str(caught.value).splitlines()) <= 3


def test_text_and_figures_stand_in_the_order_in_which_they_were_added(tmp_path):
    page = mechbp.Report("Order")
    for number in range(3):
        page.add(f"Before figure {number}.").add(Result(np.arange(3.0)), title=f"Figure {number}")
    sections = page.add("At the end.").document().sections
    found = [entry for part in sections for entry in (*part.text, *(figure.title for figure in part.figures))]
    expected = [entry for number in range(3) for entry in (f"Before figure {number}.", f"Figure {number}")]
    assert found == [*expected, "At the end."] and [part.title for part in sections] == ["Results", "", "", ""]
    text = page.write(tmp_path / "order.html").read_text(encoding="utf-8")
    assert text.count("<section>") == 3 and text.count('href="#section-') == 2, "one entry of the contents, and one anchor"


def test_a_page_of_another_name_is_not_replaced(tmp_path):
    path = page().write(tmp_path / "page.html")
    page().write(path)
    before = path.read_bytes()
    with pytest.raises(InputError, match="holds the page .*, which this one, another, would replace"):
        mechbp.Report("Another").write(path)
    assert path.read_bytes() == before
    path.with_suffix(".json").write_text("{")
    assert "Another" in mechbp.Report("Another").write(path).read_text(encoding="utf-8")
