"""Patches of one value: on a sorter made by hand they are what a sorter must show, on any model what hooks alone give."""

import numpy as np
import pytest
import torch
from hand_sorter import hand_sorter

import mechbp
from mechbp.errors import InputError
from mechbp.models.architectures import build_model
from mechbp.models.config import ModelConfig
from mechbp.processes.sorting.sorted_lists import SortedLists
from mechbp.theory.sorting.element_patching import ElementCell, element_patching
from mechbp.theory.sorting.list_pairs import list_pairs

PROCESS = SortedLists(14, 4)
OWNED = np.arange(14) % 3 == 0


@pytest.fixture(scope="module")
def sorter():
    return hand_sorter(PROCESS, OWNED, steepness=30.0, copies=20.0)


@pytest.fixture(scope="module")
def random_model():
    config = ModelConfig(n_layers=1, n_heads=2, d_model=16, d_mlp=0, attention="causal")
    return build_model(config, d_vocab=15, d_vocab_out=15, n_ctx=9, seed=4)


@pytest.mark.parametrize(
    ("kind", "keys", "values", "both"), [("answer", 0, 1, 1), ("overtaken", 1, 0.5, 1), ("further", 0, 0, 0), ("below", 0, 0, 0)]
)
def test_a_sorter_shows_the_table_of_the_docstring(sorter, kind, keys, values, both):
    pairs = list_pairs(PROCESS, kind, 80, mechbp.rng(0, kind), split=None)
    found = element_patching(sorter, pairs)
    normalized = found.normalized(mechbp.rng(0), scale=40.0)  # a logit of 20 goes from the old to the new answer
    of = dict(zip(found.cells, normalized.mean, strict=True))
    expected = {
        "attn.hook_k": keys, "attn.hook_pattern": keys, "attn.hook_v": values, "attn.hook_q": 0, "attn.hook_z": both,
    }  # fmt: skip
    for site, effect in expected.items():
        assert of[ElementCell(site, None)] == pytest.approx(effect, abs=1e-6), site
    for site in ("hook_resid_pre", "hook_attn_out"):
        assert of[ElementCell(site, None)] == pytest.approx(both, abs=1e-6), site
    assert set(of) == {ElementCell(s, h) for s in expected for h in (0, 1, None)} | {
        ElementCell(s, None) for s in ("hook_resid_pre", "hook_attn_out")
    }


def test_a_head_passes_on_the_values_it_owns(sorter):
    pairs = list_pairs(PROCESS, "answer", 120, mechbp.rng(1), split=None)
    found = element_patching(sorter, pairs)
    own = found.effects[:, found.cells.index(ElementCell("attn.hook_v", 0))]
    expected = 20.0 * OWNED[pairs.new] + 20.0 * OWNED[pairs.old]  # it writes the new value, and no longer the old one
    np.testing.assert_allclose(own, expected, rtol=0, atol=1e-6)
    other = found.effects[:, found.cells.index(ElementCell("attn.hook_z", 1))]
    np.testing.assert_allclose(other, 40 - expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(found.gap, 40, rtol=0, atol=1e-6)
    turned = found.turned(mechbp.rng(0)).mean[found.cells.index(ElementCell("attn.hook_v", 0))]
    assert turned == pytest.approx((expected > 20).mean(), abs=1e-12)


@pytest.mark.parametrize("kind", ["answer", "below"])
def test_cells_are_forward_passes_with_one_activation_written_in(random_model, kind):
    pairs = list_pairs(PROCESS, kind, 9, mechbp.rng(2, kind), split=None)
    found = element_patching(random_model, pairs)
    base, source = (torch.from_numpy(tokens[:, :-1]) for tokens in (pairs.base, pairs.source))
    _, theirs = random_model.run_with_cache(source)
    assert len(found.cells) == 17
    for column, (site, head) in enumerate(found.cells):
        name = f"blocks.0.{site}"
        which = slice(None) if head is None else head
        for row in range(9):
            at = pairs.place[row] if site in ("hook_resid_pre", "attn.hook_k", "attn.hook_v") else pairs.query[row]

            def write(mine, hook, name=name, row=row, at=at, site=site, which=which):
                mine = mine.clone()
                if site == "attn.hook_pattern":
                    mine[row, which, at] = theirs[name][row, which, at]
                elif site.startswith("attn."):
                    mine[row, at, which] = theirs[name][row, at, which]
                else:
                    mine[row, at] = theirs[name][row, at]
                return mine

            logits = random_model.run_with_hooks(base, fwd_hooks=[(name, write)])
            assert found.values[row, column] == pytest.approx(float(pairs.metric(logits)[row].detach()), abs=2e-5)
    np.testing.assert_allclose(found.base, pairs.metric(random_model(base)).detach().numpy(), rtol=0, atol=2e-5)
    np.testing.assert_allclose(found.source, pairs.metric(random_model(source)).detach().numpy(), rtol=0, atol=2e-5)
    assert np.abs(found.effects).max() > 1e-3


def test_normalised_effects_divide_by_the_gap_or_by_what_is_given(random_model):
    pairs = list_pairs(PROCESS, "answer", 40, mechbp.rng(3), split=None)
    found = element_patching(random_model, pairs)
    whole = found.cells.index(ElementCell("hook_resid_pre", None))
    own = found.normalized(mechbp.rng(0))
    assert own.mean[whole] == pytest.approx(1, abs=1e-4)  # pairs differ nowhere else before the question
    np.testing.assert_allclose(own.mean, found.effects.mean(axis=0) / found.gap.mean(), rtol=1e-9)
    given = found.normalized(mechbp.rng(0), scale=-0.5)
    np.testing.assert_allclose(given.mean, found.effects.mean(axis=0) / -0.5, rtol=1e-9)
    frame = found.to_dataframe(mechbp.rng(0))
    np.testing.assert_array_equal(frame["normalized"], own.mean)
    assert list(frame.columns) == ["site", "head", "normalized", "low", "high"]


def test_pairs_that_differ_in_the_token_asked_at_are_refused(sorter):
    pairs = list_pairs(PROCESS, "current", 8, mechbp.rng(5), split=None)
    with pytest.raises(InputError, match="element_patching: pairs of kind 'current'"):
        element_patching(sorter, pairs)
