"""Every result draws, tabulates and sums itself up, and shows itself in a notebook; nothing else is a result."""

import dataclasses
import importlib
import json
import pkgutil
import re
from collections.abc import Mapping
from numbers import Real

import numpy as np
import pandas as pd
import plotly.io
import pytest
from plotly.graph_objects import Figure

import mechbp.methods
import mechbp.theory
from mechbp.brief import Brief
from mechbp.figures import check_data, table
from mechbp.figures.picture import Picture
from mechbp.methods.shown import Shown
from tests.support.shown_examples import EXAMPLES, effects, grid, message_test

LINES = 6
OWN = ("picture", "to_dataframe", "summary")

INTERNAL = (
    # module, class: why it is no result
    ("circuits.pair_modes", "TokenRoles", "what pair_modes reads; Modes shows it"),
    ("interchange.leace", "Eraser", "a fit: an argument of erase"),
    ("interchange.pairs", "Pairs", "inputs of a test"),
    ("interchange.subspaces", "Subspace", "a fit: an argument of interchange"),
    ("llc.objective", "Objective", "a loss as the sampler takes it"),
    ("llc.sgld", "Trajectories", "part of LLCEstimate"),
    ("patching.ablate", "Mean", "an argument"),
    ("patching.ablate", "Resample", "an argument"),
    ("patching.finisher", "Finisher", "a part of the patching engine"),
    ("patching.plain_transformer", "Norm", "a part of a network"),
    ("patching.plain_transformer", "Block", "a part of a network"),
    ("patching.plain_transformer", "Network", "a network"),
    ("probing.grid", "ProbeScores", "part of ProbeGrid"),
    ("probing.logistic", "LogisticFit", "a fit"),
    ("probing.ridge", "Spectrum", "a decomposition that fits share"),
    ("probing.ridge", "RidgeFit", "a fit"),
    ("probing.ridge_loo", "RidgeFit", "a fit"),
    ("probing.scores", "Truth", "targets as scores read them"),
    ("probing.sweep", "Labels", "targets of a sweep"),
    ("probing.sweep", "OneHot", "features of the control"),
    ("probing.targets", "Split", "a split"),
    ("probing.targets", "TargetBank", "targets of a sweep"),
    ("probing.transfer_probe", "ReadOut", "predictions of a fit"),
    ("probing.two_layer_probe", "TwoLayerProbe", "a fit"),
    ("statistics.matched_pairs", "MatchedWeights", "weights of pairs"),
    ("statistics.matched_pairs", "CrossedResampling", "counts of resamples"),
    ("statistics.matched_pairs", "Contrast", "draws that draws_interval turns into an Interval"),
    ("statistics.shared_bootstrap", "Resampling", "counts of resamples"),
    ("chain.first_block", "OneBlock", "tables of weights"),
    ("chain.first_block_edits", "Profile", "a fit: an argument of with_values"),
    ("chain.future_pairs", "FuturePairs", "inputs of a test"),
    ("chain.prefix_moments", "Design", "features of fits"),
    ("chain.prefix_moments", "Moments", "sums that fits share"),
    ("chain.prefix_pass", "Level", "a level of prefixes"),
    ("chain.prefix_probe", "AffineMap", "a fit"),
    ("chain.prefix_trees", "PrefixTrees", "what is resampled"),
    ("chain.prefix_trees", "TreeErrors", "sums that r2_over_trees turns into an Interval"),
    ("sorting.answer_scores", "GroupScores", "part of AnswerScores"),
    ("sorting.asked", "AskedLists", "inputs as they are asked"),
    ("sorting.head_ablation", "SignFlip", "an argument"),
    ("sorting.list_pairs", "ListPairs", "inputs of a test"),
    ("topics.batched", "Population", "tables of a loss"),
    ("topics.exchanged_words", "ExchangedWords", "inputs of a test"),
    ("topics.hidden_words", "HiddenWords", "inputs of a test"),
    ("topics.key_classes", "KeyClasses", "a table of classes"),
    ("topics.pairs", "PairClasses", "a table of classes"),
    ("topics.parameters", "TopicParameters", "parameters"),
    ("tree.message_pairs", "MessagePairs", "inputs of a test"),
    ("tree.oracle_distances", "AskedOnce", "inputs of a test"),
    ("tree.pattern_ablation", "AblationRow", "part of AttentionAblation"),
)  # fmt: skip


def brief_classes():
    """Every dataclass of methods and theory that is Brief, as (module, class)."""
    for package in (mechbp.methods, mechbp.theory):
        for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            for value in vars(importlib.import_module(module.name)).values():
                if (
                    isinstance(value, type)
                    and dataclasses.is_dataclass(value)
                    and issubclass(value, Brief)
                    and value.__module__ == module.name
                ):
                    yield module.name.split(".", 2)[2], value


def test_every_brief_class_is_a_result_with_an_example_or_says_why_it_is_none():
    found = dict.fromkeys(brief_classes())
    internal = {(module, name) for module, name, _ in INTERNAL}
    results = [value for module, value in found if (module, value.__name__) not in internal]
    assert [value.__name__ for value in results if not issubclass(value, Shown)] == []
    assert [value.__name__ for value in results if any(name not in vars(value) for name in OWN)] == [], (
        "inherited, so not defined"
    )
    assert {value.__qualname__ for value in results} == {value.__qualname__ for value in EXAMPLES} and len(results) == len(
        EXAMPLES
    )
    assert internal <= {(module, value.__name__) for module, value in found}, "a part that is no more"
    assert all(why for _, _, why in INTERNAL)
    assert not [
        name
        for module, name in internal
        for m, value in found
        if (m, value.__name__) == (module, name) and issubclass(value, Shown)
    ]


def with_intervals(data):
    """Yield every part of a figure's data that has ends of intervals."""
    if isinstance(data, Mapping):
        if data.get("low") is not None and data.get("high") is not None:
            yield data
        data = list(data.values())
    if isinstance(data, list | tuple):
        for part in data:
            yield from with_intervals(part)


def inside(part):
    """Whether values lie within their intervals, along the axis that has them."""
    low, high = (np.asarray(part[end], float) for end in ("low", "high"))
    for name in ("values", "y", "x"):
        values = np.asarray(part.get(name, np.nan), object)
        if values.shape == low.shape and all(value is None or isinstance(value, Real) for value in values.flat):
            values = values.astype(float)
            known = np.isfinite(low) & np.isfinite(high) & np.isfinite(values)
            if (low[known] <= values[known] + 1e-9).all() and (values[known] <= high[known] + 1e-9).all():
                return True
    return False


@pytest.mark.parametrize("kind", EXAMPLES, ids=lambda kind: f"{kind.__module__.rpartition('.')[2]}.{kind.__name__}")
def test_a_result_shows_itself(kind, monkeypatch):
    shown = []
    monkeypatch.setattr(Figure, "show", lambda *_, **__: shown.append(1))
    before = (plotly.io.templates.default, plotly.io.renderers.default, repr(plotly.io.renderers))
    result = EXAMPLES[kind]()
    picture = result.picture()
    assert type(result) is kind and isinstance(picture, Picture)
    assert all(len(text.split()) > 1 for text in (picture.title, picture.caption, picture.alt))
    check_data(picture.kind, json.loads(json.dumps(dict(picture.data), allow_nan=False)), "the picture after JSON")
    assert all(inside(part) for part in with_intervals(picture.data)), "a value is drawn outside its interval"
    numbers = [cell for row in table(picture.kind, dict(picture.data)).rows for cell in row if isinstance(cell, float)]
    assert numbers and np.isfinite(numbers).all()
    figure = result.plot()
    assert isinstance(figure, Figure) and figure.layout.title.text and len(figure.data) >= 1
    json.loads(figure.to_json())
    frame = result.to_dataframe()
    assert (
        isinstance(frame, pd.DataFrame)
        and len(frame) > 0
        and frame.index.is_unique
        and len(set(frame.columns)) == len(frame.columns)
    )
    summary = result.summary()
    assert summary.strip() and len(summary.splitlines()) <= LINES + (kind.__name__ == "LLCEstimate") * 4, "cautions come on top"
    assert re.search(r"\d", summary) and not re.search(r"\bnan\b", summary) and "array(" not in summary
    html = result._repr_html_()
    assert html.startswith("<pre>") and "<table" in html and len(html) < 40_000 and "<script" not in html
    assert len(repr(result)) < 900 and "\n" not in repr(result)
    assert (plotly.io.templates.default, plotly.io.renderers.default, repr(plotly.io.renderers)) == before and not shown


def test_a_grid_is_drawn_by_target_node_and_own_nodes():
    found = grid()
    cells = found.picture("two")
    assert cells.kind == "heatmap" and cells.data["columns"] == ["0", "1", "2", "3"]  # position 4 has no node of its own
    at_own = found.at_own("r2", "two")
    np.testing.assert_allclose(cells.data["panels"][0]["values"], at_own.mean, rtol=1e-5)
    node = found.picture("two", node=1)
    np.testing.assert_allclose(node.data["panels"][0]["values"], found.r2["two"][:, :, 1], rtol=1e-5)
    assert [panel["title"] for panel in found.picture("symbol").data["panels"]] == ["node 0"]
    assert found.picture().title == cells.title, "the first target"
    own = found.picture("two", own=True)
    assert [part["name"] for part in own.data["series"]] == ["model", "shuffled", "tokens"]
    np.testing.assert_allclose(own.data["series"][1]["low"], found.own_mean("r2", "two", "shuffled").low, rtol=1e-5)
    for wrong, message in (
        ({"target": "three"}, "no target 'three' here; there are two, symbol"),
        ({"target": "symbol", "own": True}, "no position has a node of 'symbol' of its own"),
        ({"metric": "r3"}, "no metric 'r3' of 'two' here; there are"),
        ({"node": 2}, r"nodes 0..1, got node=2"),
    ):
        with pytest.raises(mechbp.errors.InputError, match=message):
            found.picture(**wrong)


def test_effects_stand_at_their_hook_head_and_position():
    found = effects()
    panels = {panel["title"]: panel for panel in found.picture(normalized=False).data["panels"]}
    assert set(panels) == {"hook_resid_pre", "attn.hook_z", "attn.hook_pattern"}
    for cell, effect in zip(found.cells, found.effect.mean, strict=True):
        panel = panels[cell.hook.removeprefix("blocks.0.")]
        if cell.position is None:
            drawn_at = panel["values"][panel["rows"].index("block 0")][panel["columns"].index(f"head {cell.head}")]
        else:
            row = "block 0" if cell.head is None else f"block 0, head {cell.head}"
            drawn_at = panel["values"][panel["rows"].index(row)][panel["columns"].index(str(cell.position))]
        np.testing.assert_allclose(drawn_at, effect, rtol=1e-5, atol=1e-9)


def test_a_table_beyond_ten_rows_says_how_many_there_are():
    html = effects()._repr_html_()
    assert html.count("<tr") == 11 and "17 rows; to_dataframe() has them all" in html


def test_titles_are_text_and_are_wrapped_instead_of_cut():
    long = Picture(
        "lines", "a < b, " * 30, "c d", "e f", {"x_title": "x", "y_title": "y", "series": [{"name": "s", "x": [1], "y": [2]}]}
    )
    figure = long.figure()
    assert "<br>" in figure.layout.title.text and "a &lt; b" in figure.layout.title.text
    assert max(map(len, figure.layout.title.text.replace("&lt;", "<").split("<br>"))) <= 90
    short = Picture("lines", "a b", "c d", "e f", long.data).figure()
    assert (
        figure.layout.height > short.layout.height
        and figure.layout.margin.t - short.layout.margin.t == figure.layout.height - short.layout.height
    )


def test_messages_are_shared_out_with_their_controls():
    found = message_test()
    frame = found.to_dataframe().set_index("edit")
    np.testing.assert_allclose(
        frame.loc["means", "explained"], 1 - found.target_kl_nats["means"].mean() / found.target_kl_nats["nothing"].mean()
    )
    assert list(frame["control"]) == [False, False, True, True]
