"""Runs that cannot be studied in full: what they lack is left out with the reason, and the rest of every page stands."""

import html

import numpy as np
import pytest
from small_runs import write_run

from mechbp import study
from mechbp.models.runs import load
from mechbp.models.training import train
from mechbp.report.page import render

pytestmark = pytest.mark.slow

KINDS = {
    "attention-only": {"process__vocab_size": 4, "process__depth": 3, "model__d_mlp": 0},
    "tiny": {"process__vocab_size": 2, "process__depth": 1, "model__d_model": 32},
    "wide": {"model__d_model": 64},
    "independent": {"process__filter_level": 2},
}
"""No MLP; four sequences; more features than unmasked sequences, though not than masked ones; no level above the root."""
LACKS = {
    ("attention-only", "tree_mechanism"): {"fig-attention-only-patch-mlp-out": "no hook_mlp_out"},
    ("tiny", "tree_mechanism"): {
        "messages-tiny": "its messages cannot be probed",
        "probes-tiny": "the control 'tokens' has 3 features at position 0, one per token, but only 3 distinct",
    },
    ("tiny", "tree_levels"): {
        "ancestors-masked": "the control 'tokens' has 2 features at position 0, one per token, but only 2 distinct"
    },
    ("tiny", "tree_training"): {"fig-tiny-readable": "32 features but only 3 distinct training sequences"},
    ("wide", "tree_mechanism"): {"fig-wide-probe-symbols": "64 features but only"},
    ("wide", "tree_levels"): {"ancestors-masked": "64 features but only"},
    ("independent", "tree_training"): {"ladder-masked-k2": "no level to take in"},
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("odd")
    shared = {"training__steps": 12, "training__warmup_steps": 2, "training__stored_steps": 2}
    folders = [write_run(root / name, **{**shared, **kind}) for name, kind in KINDS.items()]
    for folder in folders:
        train(folder)
    return {folder.name: load(folder) for folder in folders}


@pytest.mark.parametrize(("name", "analysis"), LACKS)
def test_only_what_cannot_be_computed_is_left_out(name, analysis, runs, monkeypatch):
    monkeypatch.setattr(study.Study, "size", lambda self, full, quick: min(quick, 300))
    document = study.analyse(analysis, study.Study((runs[name],), True, lambda text: None))
    missing = {part.id: part.reason for part in (*document.sections, *document.figures) if part.status != "done"}
    assert list(missing) == list(LACKS[name, analysis])
    for part, reason in LACKS[name, analysis].items():
        assert reason in missing[part] and "\n" not in missing[part]
    assert document.claims and len([figure for figure in document.figures if figure.status == "done"]) > 3
    page = html.unescape(render(document))
    assert all(reason in page for reason in missing.values())


def test_attention_only_models_are_probed_where_their_stream_is(runs, monkeypatch):
    monkeypatch.setattr(study.Study, "size", lambda self, full, quick: min(quick, 300))
    document = study.analyse("tree_mechanism", study.Study((runs["attention-only"],), True, lambda text: None))
    figures = {figure.id: figure.data for figure in document.figures}
    assert figures["fig-attention-only-probe-upward"]["rows"] == ["embedding", "block 1 output"]
    assert np.isfinite(figures["fig-attention-only-probe-upward"]["panels"][0]["values"]).all()
