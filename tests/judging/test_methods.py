"""The methods known by name: each finds what it must on a grammar, other libraries' agree, and the table says it all."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from mechbp.errors import InputError
from mechbp.judging.judge import judge
from mechbp.judging.localising import patching
from mechbp.judging.methods import KNOWN, chosen
from mechbp.judging.peers import pyvene_rotation, transformer_lens_patching
from mechbp.judging.setting import settings
from mechbp.judging.table import judge_all
from mechbp.judging.truth import TRUTHS

BY_NAME = {known.name: known for known in KNOWN}

MORE = (
    *(("patch-denoising", "parts"), ("patch-noising", "parts"), ("path-patching", "components"), ("transformer-lens", "parts")),
    *(("probe", "parts"), ("probe", "components"), ("interchange", "parts"), ("erasure-leace", "streams")),
)


def judged(name, sites="parts"):
    known = BY_NAME[name]
    return judge(known.method, known.kind, sites=sites, grammars=1, name=name)


@pytest.mark.parametrize(
    ("name", "sites"),
    [
        ("patch-denoising", "components"),
        ("attribution", "parts"),
        ("interchange", "streams"),
        *(pytest.param(name, sites, marks=pytest.mark.slow) for name, sites in MORE),
    ],
)
def test_methods_find_what_is_known_to_be_there(name, sites):
    found = judged(name, sites)
    assert found.auroc.mean == pytest.approx(1)
    assert np.nanmin(found.hits.mean) == 1 and np.nanmax(found.false_alarms.mean) == 0


@pytest.mark.slow
def test_zeros_miss_copies_that_patches_find():
    assert judged("ablation-zero").hits.mean[TRUTHS.index("copy")] == 0
    assert judged("ablation-mean").hits.mean[TRUTHS.index("copy")] == 1


def test_the_peer_scores_as_patching_does():
    """TransformerLens keeps float32 of the metric; effects agree to its rounding."""
    for sites in ("parts", "components"):
        setting = next(iter(settings(5, sites)))
        question = setting.question("localisation", 8, 60, None)
        mine, _ = patching("denoising")(question)
        theirs = transformer_lens_patching(question)
        assert theirs / theirs.max() == pytest.approx(mine / mine.max(), abs=1e-5)


@pytest.mark.slow
def test_the_rotation_of_the_other_library_finds_the_place_that_is_read():
    setting = next(iter(settings(0, "streams")))
    question = setting.question("interchange", 16, 60, None)
    at = [setting.truth.index(what) for what in ("read", "unread", "nothing")]
    asked = replace(question, candidates=tuple(question.candidates[i] for i in at))
    before = torch.get_rng_state()
    scores = pyvene_rotation(asked)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(7)  # another state of torch's
    assert np.array_equal(pyvene_rotation(asked), scores)
    assert scores[0] > 0.1 and scores[1:] == pytest.approx(0, abs=1e-6)


def test_a_table_of_methods():
    table = judge_all(["random", "probe"], grammars=1, budget=350)
    assert [(found.method, found.sites) for found in table] == [
        *(("random", sites) for sites in ("parts", "components")),
        *(("probe", sites) for sites in ("parts", "components")),
    ]
    text = table.summary()
    assert "unanswered" in text and "asked for more than 350 passes" in text and "n = 1 grammar, no interval" in text
    assert len(json.loads(json.dumps(table.to_dict()))["judgements"]) == 4
    assert len(table.to_dataframe()) == 4 * len(TRUTHS)
    for picture in (table.picture(), table.auroc_picture(), table.passes_picture()):
        assert picture.figure().data
    panels = table.picture().data["panels"]
    assert [panel["title"] for panel in panels] == ["localisation", "probing"]
    assert panels[0]["values"][0] == [1, 1, 1, 0, 0, 0, 0] and panels[1]["values"][0][2] is None


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(InputError, match="no method 'prob'; did you mean 'probe'"):
        chosen(["prob"])
    assert all(not known.extra for known in chosen([])) and [known.name for known in chosen(["probe", "probe"])] == ["probe"]
